r"""What a question says, apart from how it is typeset: for finding the same problem in two data sets.

Copies of one problem differ in spacing, math delimiters, layout commands (``\dfrac`` for ``\frac``, ``\ldots`` for
``\dots``), braces around single symbols, punctuation, case, and pictures. All of that is taken out; numbers, letters,
function names and operators stay.
"""

import re
import unicodedata
from typing import Final

_PICTURE: Final = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_ENVIRONMENT: Final = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}")
_COMMAND: Final = re.compile(r"\\([a-zA-Z]+)|\\(.)", re.DOTALL)
_LONE_IN_BRACES: Final = re.compile(r"\{\s*(-?\w+)\s*\}")
_EXACT_TOKEN: Final = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^_!|()\[\]{}%]")
_WORD: Final = re.compile(r"\d+|[^\W\d_]+")
_LAYOUT: Final = frozenset(
    "left right big Big bigg Bigg bigl bigr displaystyle textstyle frac dfrac tfrac cfrac quad qquad dots ldots cdots "
    "dotsc dotsb text textbf textit textrm mathrm mathbf mathbb mathcal mathit operatorname mbox cdot times".split()
)
"""Commands that copies of a problem exchange or leave out; what stands in their braces stays."""

_SAME_COMMAND: Final = {"le": "leq", "ge": "geq", "ne": "neq", "not": "neq", "to": "rightarrow"}


def question_words(question: str) -> tuple[str, ...]:
    """Numbers and words in lower case, LaTeX commands that mean something among them."""
    return tuple(_WORD.findall(_plain(question)))


def exact_wording(question: str) -> str:
    """What two copies of one problem share to the letter: words, numbers, operators and brackets."""
    return " ".join(_EXACT_TOKEN.findall(_LONE_IN_BRACES.sub(r" \1 ", _plain(question))))


def _plain(question: str) -> str:
    text = _ENVIRONMENT.sub(" ", _PICTURE.sub(" ", question))
    return unicodedata.normalize("NFKC", _COMMAND.sub(_spelt, text)).casefold()


def _spelt(command: re.Match[str]) -> str:
    name = command[1]
    if name is None:
        # Spacing and line breaks mean nothing; an escaped character stands for itself.
        return command[2] if command[2] in "{}%" else " "
    return " " if name in _LAYOUT else f" {_SAME_COMMAND.get(name, name)} "
