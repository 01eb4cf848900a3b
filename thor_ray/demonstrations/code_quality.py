"""Whether a program is worth a tool call: a library invocation or control flow (paper section 2.2, spec B.7)."""

import ast
from typing import Final

_CONTROL_FLOW: Final = (
    ast.For,
    ast.While,
    ast.If,
    ast.IfExp,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
_ITERATING: Final = {"map", "filter"}


def is_substantial(code: str) -> bool:
    """Whether the program does more than plain arithmetic.

    It has control flow (a loop, a branch, a comprehension), or it calls or indexes something that it imported. ``map`` and
    ``filter`` count as loops, and so does modular exponentiation, ``pow`` with three arguments. Code that does not
    parse is not substantial.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    imported = _imported_names(tree)
    return any(isinstance(node, _CONTROL_FLOW) or _is_invocation(node, imported) for node in ast.walk(tree))


def _imported_names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return names


def _is_invocation(node: ast.AST, imported: set[str]) -> bool:
    """Whether a library works here, or a builtin that loops."""
    match node:
        case ast.Call(func=ast.Name("pow"), args=arguments):
            return len(arguments) == 3
        case ast.Call(func=ast.Name(name)) if name in _ITERATING or "*" in imported:
            return True
        case ast.Call(func=used) | ast.Subscript(value=used):
            while isinstance(used, ast.Attribute):
                used = used.value
            return isinstance(used, ast.Name) and used.id in imported
        case _:
            return False
