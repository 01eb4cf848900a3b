"""The program that a response holds.

Programs stand in Markdown fences. The last ``python`` block counts that defines the function which tests call, so that
an example of its use after it does no harm; without such a block the last ``python`` block, then the last block
without a language. What a reasoning model writes after its thought comes before the thought itself. A response without any fence is a program as a whole, as base models continue code.
"""

import ast
import re
import warnings
from dataclasses import dataclass
from typing import Final

_FENCE: Final = re.compile(r"^( {0,3}|[ \t]*)(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$")
_PYTHON: Final = ("python", "python3", "py", "python2.7", "ipython")
_THOUGHT_END: Final = "</think>"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        language: Lower case; empty where the fence names none.
        text: What stands inside, without the fence's indentation.
        closed: Whether its closing fence is there; a response may have been cut before it.
    """

    language: str
    text: str
    closed: bool


def extract_program(response: str, function: str | None = None) -> str | None:
    """The fenced program of a response, or all of an unfenced one; ``None`` if there is none.

    Args:
        response: All that the policy wrote.
        function: Name of the function that tests call; ``None`` for scripts.
    """
    answer = response.rpartition(_THOUGHT_END)[2]
    blocks = fenced_blocks(answer) or fenced_blocks(response)
    if not blocks:
        return answer if answer.strip() else None
    of_python = [block for block in blocks if block.language in _PYTHON] or [
        block for block in blocks if not block.language
    ]
    filled = [block for block in of_python if block.text.strip()]
    candidates = [block for block in filled if block.closed] or filled
    if function is not None and (defining := [block for block in candidates if defines(block.text, function)]):
        return defining[-1].text
    return candidates[-1].text if candidates else None


def defines(program: str, name: str) -> bool:
    """Whether a program that compiles binds a name at its top level, or in a class there."""
    if (tree := parsed(program)) is None:
        return False
    body = tree.body
    inner = [statement for each in body if isinstance(each, ast.ClassDef) for statement in each.body]
    return any(name in _bound_names(statement) for statement in (*body, *inner))


def parsed(program: str) -> ast.Module | None:
    """The program's tree; ``None`` if it is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of the candidate's escape sequences
            return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def fenced_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in their order; fences of the same kind do not nest."""
    blocks: list[Block] = []
    lines: list[str] = []
    opening: re.Match[str] | None = None
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if opening is None:
            opening, lines = fence, []
        elif fence is not None and not fence[3] and fence[2].startswith(opening[2]):
            blocks.append(_block(opening, lines, closed=True))
            opening = None
        else:
            lines.append(line)
    if opening is not None:
        blocks.append(_block(opening, lines, closed=False))
    return blocks


def _block(opening: re.Match[str], lines: list[str], *, closed: bool) -> Block:
    indent = len(opening[1])
    text = "\n".join(line[min(indent, len(line) - len(line.lstrip())) :] for line in lines)
    return Block(opening[3].lower().strip("{}."), text, closed)


def _bound_names(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Assign():
            return {node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name for alias in statement.names}
    return set()
