r"""Finding the answer in a response: the last complete ``\boxed{...}`` that the policy wrote as text.

The rule is strict on purpose. Prose such as "the answer is 5" is not an answer, nor is a box that only
occurs in code or in the output of a tool, nor one inside the thinking section of a reasoning model.
"""

import re

SEARCH_WINDOW = 20_000
"""Characters before the end of the response in which a box may stand; bounds the work on junk."""

_THINK_END = "</think>"
_FENCE_OPEN = re.compile(r"`{3,}[ \t]*(?:python3?|py|output)\b[^\n`]*(?=\n|$)", re.IGNORECASE)
_FENCE_CLOSE = re.compile(r"\n[ \t]*`{3,}[ \t]*(?=\n|$)")
_BOX = re.compile(r"\\boxed\s*\{")
_ESCAPED_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_JOINT = re.compile(
    r"(?:[ \t$*&]|\n(?!\s*\n)|\\[()\[\],;: ]|\\q?quad(?![a-zA-Z])|(?P<conjunction>[,;]|(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])"
    r"|\\(?:text|mbox|textrm|mathrm)\s*\{[\s,]*(?:and|or)?\s*\}))+"
)


def extract_boxed(response: str) -> str | None:
    r"""Returns what the last complete ``\boxed{...}`` of a response holds, or ``None``.

    Args:
        response: Everything the policy and its tools wrote after the prompt.

    Returns:
        The stripped content of the box that opens last among those that are closed; ``None`` if there
        is none or if that box is empty. Boxes that nothing but a comma, "and" or "or" joins to it are one
        list with it, as in ``\boxed{1}, \boxed{2}``. Text up to the last ``</think>``, Python blocks and output
        blocks are left out before the search.
    """
    prose = _without_fences(response)
    thinking_end = prose.rfind(_THINK_END)
    if thinking_end >= 0:
        prose = prose[thinking_end + len(_THINK_END) :]
    unclosed = _FENCE_OPEN.search(prose)
    if unclosed:
        prose = prose[: unclosed.start()]
    return _last_box(prose[-SEARCH_WINDOW:])


def _without_fences(text: str) -> str:
    """Cuts every closed Python or output block; an unclosed one is left for the caller to judge."""
    kept: list[str] = []
    position = 0
    while opening := _FENCE_OPEN.search(text, position):
        closing = _FENCE_CLOSE.search(text, opening.end())
        if closing is None:
            break
        kept.append(text[position : opening.start()])
        position = closing.end()
    kept.append(text[position:])
    return "\n".join(kept)


def _last_box(text: str) -> str | None:
    """The rightmost opening whose brace is matched before the text ends, and what is joined to it on its left."""
    boxes = _innermost_boxes(text)
    if not boxes:
        return None
    *earlier, (start, _end, content) = boxes
    contents = [content]
    for earlier_start, earlier_end, earlier_content in reversed(earlier):
        joint = _JOINT.fullmatch(text, earlier_end, start)
        if joint is None or joint.group("conjunction") is None or not earlier_content:
            break
        contents.insert(0, earlier_content)
        start = earlier_start
    if not content:
        return None
    return ", ".join(dict.fromkeys(contents))


def _innermost_boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and stripped content of all complete boxes that hold no other box, from left to right."""
    openings = {match.end() - 1: match.start() for match in _BOX.finditer(text)}
    if not openings:
        return []
    boxes: list[tuple[int, int, str]] = []
    pending: list[int] = []
    # Escaped braces (\{ and \}) are set delimiters, not groups, and must not be counted.
    braces = [match.start() for match in _ESCAPED_OR_BRACE.finditer(text) if match.group() in "{}"]
    closing_of: dict[int, int] = {}
    for position in reversed(braces):
        if text[position] == "}":
            pending.append(position)
        elif pending:
            closing_of[position] = pending.pop()
    for brace, start in openings.items():
        if brace in closing_of:
            end = closing_of[brace]
            if boxes and boxes[-1][1] > end:
                boxes.pop()  # it holds this one
            boxes.append((start, end + 1, text[brace + 1 : end].strip()))
    return boxes
