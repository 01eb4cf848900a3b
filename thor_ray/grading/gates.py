"""What must hold before an answer is worth any work: bounds on size, nesting, characters and magnitude."""

import re
from functools import lru_cache

from thor_ray.grading.normalisation import group_end, plain_characters
from thor_ray.grading.numerals import TooLargeError
from thor_ray.grading.rational import evaluate

MAX_CHARACTERS = 2_000
MAX_NESTING = 50
MAX_EXPONENT = 10_000
MAX_FACTORIAL = 1_000

# Control characters save tab and newline, soft hyphen, zero-width, bidirectional and other invisible ones.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_BRACKET = re.compile(r"[()\[\]{}]")
_FACTORIAL = re.compile(r"(\d+)\s*!")
_TOWER = re.compile(r"\^\s*-?\w+\s*\^|!\s*!")  # 9^9^9 and 5!!!: ambiguous at best, astronomical at worst
_BINOMIAL = re.compile(r"\\binom\{([^{}]*)\}")
_DIGITS = re.compile(r"\d{4,}")


def refusal(answer: str) -> str | None:
    """Why an answer is not read at all, or ``None`` if it may be read.

    Args:
        answer: The raw text of the box.
    """
    if len(answer) > MAX_CHARACTERS or len(plain_characters(answer)) > 2 * MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if _FORBIDDEN.search(answer):
        return "control or invisible characters"
    if nesting(answer) > MAX_NESTING:
        return f"nested deeper than {MAX_NESTING}"
    return None


def nesting(text: str) -> int:
    """Greatest depth of brackets of any kind, without regard to which closes which."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


@lru_cache(maxsize=4096)
def is_too_large_to_evaluate(text: str) -> bool:
    """Whether normalised text holds a power, factorial or binomial that symbolic algebra would expand for ages.

    Such text is compared as text only. The test is on literals; what hides from it meets the deadline.
    """
    if _TOWER.search(text):
        return True
    for factorial in _FACTORIAL.findall(text):
        if len(factorial) > 9 or int(factorial) > MAX_FACTORIAL:
            return True
    for upper in _BINOMIAL.findall(text):
        digits = _DIGITS.search(upper)
        if digits and (len(digits.group()) > 9 or int(digits.group()) > MAX_EXPONENT):
            return True
    return any(_is_huge(exponent) for exponent in _exponents(text))


def _is_huge(exponent: str) -> bool:
    try:
        value = evaluate(exponent)
    except (TooLargeError, ZeroDivisionError):
        return True
    return value is not None and abs(value) > MAX_EXPONENT


def _exponents(text: str) -> list[str]:
    """The text of every exponent, those nested in others included."""
    exponents = []
    for position, character in enumerate(text):
        if character != "^":
            continue
        rest = text[position + 1 :].lstrip()
        if rest[:1] in ("{", "("):
            exponents.append(rest[1 : group_end(rest, 0)])
        else:
            exponents.append(re.match(r"-?\d+|.?", rest, re.DOTALL).group())  # type: ignore[union-attr]
    return exponents
