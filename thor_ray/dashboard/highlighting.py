"""Python programs as pieces with the CSS classes of their tokens: the page makes elements of them, never markup."""

import re
from collections.abc import Iterable
from typing import Final

from pygments.lexers.python import PythonLexer
from pygments.token import STANDARD_TYPES, Token, _TokenType

MAX_CHARACTERS: Final = 100_000
"""Longer programs are shown plain: nobody reads them by colour, and the lexer takes seconds."""

Piece = tuple[str, str]
"""A CSS class of Pygments, empty for plain text, and the text."""

_FENCED: Final = re.compile(r"(\s*```[^\n]*\n)(.*?)(\n?```\s*)", re.DOTALL)


def highlighted(text: str) -> list[Piece]:
    """``text``, an action with or without its fence, in pieces that concatenate to it exactly."""
    if len(text) > MAX_CHARACTERS:
        return [("", text)]
    fenced = _FENCED.fullmatch(text)
    opening, code, closing = fenced.groups() if fenced else ("", text, "")
    tokens = PythonLexer(stripnl=False, ensurenl=False).get_tokens_unprocessed(code)
    pieces = [("", opening), *((_css_class(kind), value) for _, kind, value in tokens), ("", closing)]
    return _merged(pieces)


def _css_class(kind: _TokenType) -> str:
    while kind not in STANDARD_TYPES:
        kind = kind.parent
    return "" if kind in (Token, Token.Text, Token.Text.Whitespace) else str(STANDARD_TYPES[kind])


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for kind, value in pieces:
        if not value:
            continue
        if merged and merged[-1][0] == kind:
            merged[-1] = (kind, merged[-1][1] + value)
        else:
            merged.append((kind, value))
    return merged
