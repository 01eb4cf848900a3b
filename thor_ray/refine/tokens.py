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
_TOKEN = re.compile(
    r"""
    (?P<invisible>
        \[asy\].*?(?:\[/asy\]|\Z)                             # a picture's source
      | \\(?:begin|end)\s*\{[^{}\n]{0,40}\}                  # environments
      | \\(?:text|mbox|mathrm|textrm|textbf)\s*\{[^{}]{0,80}\}  # words inside formulas
      | \^\s*\\circ | \^\s*\{\s*\\circ\s*\} | °            # degrees
      | \\[\s,;:!$()\[\]\\] | & | ~ | [$€£]                  # spacing, formulas' borders, alignment, currencies
    )
  | (?P<number> [0-9]{1,3}(?:(?:\{,\}|,\\!)[0-9]{3})+ | [0-9]+(?:\.[0-9]+)? | (?<![\w.)\]])\.[0-9]+ )
  | (?P<dots> \.\.\. | … | \\[clds]?dots[bcm]? )
  | (?P<bracket> \\(?:left|right|[bB]igg?[lr]?)\s*[()\[\]] )
  | (?P<word> \\?[A-Za-z_]+ )
  | (?P<symbol> \*\* | \\% | \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_SPELLINGS = {
    "**": "^",
    "×": "*",
    "·": "*",
    "∗": "*",
    "\\times": "*",
    "\\cdot": "*",
    "÷": "/",
    "\\div": "/",
    "plus": "+",
    "minus": "-",
    "−": "-",
    "–": "-",
    "≡": "\\equiv",
    "≈": "\\approx",
    "√": "\\sqrt",
    "\\%": "%",
    "\\bmod": "mod",
}
_KINDS = {
    "number": TokenKind.NUMBER,
    "word": TokenKind.WORD,
    "symbol": TokenKind.SYMBOL,
    "dots": TokenKind.SYMBOL,
    "bracket": TokenKind.SYMBOL,
}
_SIZED = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)\s*(?=[()\[\]])")
_SEPARATORS = re.compile(r"\{,\}|,\\!")
_INVISIBLE = {"\\left", "\\right", "\\displaystyle", "\\quad", "\\qquad", "\\bigl", "\\bigr", "\\big", "\\Big"}

DOTS = "..."
"""How every ellipsis is spelled."""


def tokenize(text: str) -> list[Token]:
    """The tokens of ``text``.

    White space, currency and degree signs, pictures, and LaTeX that only sets type or spacing are left out.
    """
    return [
        Token(_KINDS[match.lastgroup or ""], _spelling(match), *match.span())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "invisible" and match.group() not in _INVISIBLE
    ]


def _spelling(match: re.Match[str]) -> str:
    """Brackets without their size, numbers without LaTeX's separators, operators and ellipses in one form."""
    text = match.group()
    if match.lastgroup == "dots":
        return DOTS
    return _SPELLINGS.get(text) or _SEPARATORS.sub("", _SIZED.sub("", text))
