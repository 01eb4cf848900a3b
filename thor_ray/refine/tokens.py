"""Cuts mathematical prose into tokens."""

import re
from dataclasses import dataclass
from enum import StrEnum


class TokenKind(StrEnum):
    """What a token is."""

    NUMBER = "number"
    WORD = "word"
    """Letters and underscores, or a LaTeX command with its backslash."""
    SYMBOL = "symbol"
    """One character that is neither letter, digit nor white space; ``**`` counts as one."""


@dataclass(frozen=True, slots=True)
class Token:
    """``text[start:end]`` of the text that was cut up; ``text`` is that slice, operators in one spelling."""

    kind: TokenKind
    text: str
    start: int
    end: int


# ASCII digits only: `\d` would also match digits which no Python literal may hold.
_TOKEN = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<word>\\?[A-Za-z_]+)|(?P<symbol>\*\*|[^\s$])")
_SPELLINGS = {
    "**": "^",
    "×": "*",
    "·": "*",
    "∗": "*",
    "\\times": "*",
    "\\cdot": "*",
    "÷": "/",
    "\\div": "/",
    "−": "-",
    "–": "-",
    "≡": "\\equiv",
    "\\bmod": "mod",
}
_INVISIBLE = {"\\left", "\\right", "\\displaystyle"}


def tokenize(text: str) -> list[Token]:
    """The tokens of ``text``; white space, dollar signs and LaTeX commands that only set sizes are left out."""
    return [
        Token(TokenKind(match.lastgroup or ""), _SPELLINGS.get(match.group(), match.group()), *match.span())
        for match in _TOKEN.finditer(text)
        if match.group() not in _INVISIBLE
    ]
