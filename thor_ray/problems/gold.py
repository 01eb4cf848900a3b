r"""Gold answers as data sets write them, brought to the form that stands inside ``\boxed{...}``."""

import math
import re
from typing import Final

from thor_ray.grading.extraction import extract_boxed

FINAL_ANSWER_MARK: Final = "####"
"""GSM8K's: the reasoning stands before it, the answer behind it."""

_MATH_DELIMITERS: Final = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_BOX_OPENING: Final = re.compile(r"\\boxed\s*\{")
_ESCAPED_OR_BRACE: Final = re.compile(r"\\.|[{}]", re.DOTALL)
_THOUSANDS_COMMA: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CALCULATOR_NOTE: Final = re.compile(r"<<[^<>]*>>")
_LARGEST_EXACT_FLOAT: Final = 2**53


def bare_answer(text: str) -> str:
    r"""The answer without what stands around the whole of it: space, math delimiters, a box.

    ``$\frac{1}{2}$`` becomes ``\frac{1}{2}``, ``\boxed{5}`` becomes ``5``; ``$1$ and $2$`` stays as it is, since no pair
    of delimiters holds all of it.
    """
    inner = text.strip()
    while (unwrapped := _unwrapped_once(inner)) != inner:
        inner = unwrapped
    return inner


def number_answer(value: float) -> str:
    """A number as text; ``27.0`` becomes ``27``."""
    whole = abs(value) <= _LARGEST_EXACT_FLOAT and value == int(value)
    return str(int(value)) if whole else str(value)


def is_number(value: object) -> bool:
    """Whether a value is a finite number; JSON's ``1e999`` is read as infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def marked_answer(text: str) -> str | None:
    """What stands behind the last ``####`` without thousands separators; ``None`` where there is no such mark."""
    _, mark, answer = text.rpartition(FINAL_ANSWER_MARK)
    return _THOUSANDS_COMMA.sub("", bare_answer(answer)) if mark else None


def marked_solution(text: str) -> str:
    r"""GSM8K's reasoning as a worked solution: without calculator notes (``<<3+4=7>>``), the answer boxed at the end."""
    reasoning, _, _ = text.rpartition(FINAL_ANSWER_MARK)
    steps = _CALCULATOR_NOTE.sub("", reasoning).strip()
    return f"{steps}\nThe answer is \\boxed{{{marked_answer(text)}}}."


def boxed_answer(solution: str) -> str | None:
    """What the last box of a worked solution holds, ``None`` where it has none."""
    return extract_boxed(solution)


def _unwrapped_once(text: str) -> str:
    for opening, closing in _MATH_DELIMITERS:
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            outside_escapes = inner.replace(r"\$", "")  # that is money
            # A second pair of delimiters means that no single one holds the whole.
            if not inner.endswith("\\") and opening not in outside_escapes and closing not in outside_escapes:
                return inner.strip()
    box = _BOX_OPENING.match(text)
    if box is not None and _closing_brace(text, box.end()) == len(text) - 1:
        return text[box.end() : -1].strip()
    return text


def _closing_brace(text: str, start: int) -> int | None:
    """Where the brace closes that was opened just before ``start``."""
    depth = 1
    for match in _ESCAPED_OR_BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return None
