"""The gold answers of real problem files, in other spellings and with errors: `THOR_DATA` names the folder of the files.

The folder holds `benchmarks/*.jsonl` and, if training sets are to be covered as well, `data/*.jsonl`.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from thor_ray.grading import Grade, GraderPool, GradeStatus
from thor_ray.grading.audit import GoldStatus, audit_golds
from thor_ray.grading.normalisation import normalise
from thor_ray.grading.reading import read
from thor_ray.grading.structure import INTERVALS, Leaf, Ordered, Unordered, split_top_level

pytestmark = pytest.mark.skipif(
    "THOR_DATA" not in os.environ,
    reason="NOT CHECKED: no gold answers of real problems; set THOR_DATA to a folder with benchmarks/*.jsonl",
)

_FRACTION = re.compile(r"^(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}$")


@pytest.fixture(scope="module")
def pool() -> Iterator[GraderPool]:
    with GraderPool(workers=2) as grader:
        yield grader


@pytest.fixture(scope="module")
def golds() -> list[str]:
    """All different gold answers of all files."""
    root = Path(os.environ["THOR_DATA"])
    files = sorted([*root.glob("benchmarks/*.jsonl"), *root.glob("data/*.jsonl")])
    assert files, f"THOR_DATA={root} has no benchmarks/*.jsonl"
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    return sorted({str(json.loads(line)["answer"]) for line in lines})


def exceptions(pool: GraderPool, pairs: list[tuple[str, str]], expected: bool) -> list[tuple[str, str, Grade]]:
    """Pairs of gold answer and answer whose verdict is not the expected one; there must be some pairs."""
    assert len(pairs) > 10
    grades = [future.result() for future in [pool.submit_answer(answer, gold) for gold, answer in pairs]]
    return [
        (gold, answer, grade)
        for (gold, answer), grade in zip(pairs, grades, strict=True)
        if (grade.status is GradeStatus.CORRECT) != expected or grade.status is GradeStatus.ERROR
    ]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "itself": lambda gold: gold,
    "in dollars": lambda gold: gold if "$" in gold.replace("\\$", "") else f"${gold}$",
    "in a box": lambda gold: rf"\boxed{{{gold}}}",
    "with a full stop": lambda gold: f"{gold}.",
    "with dfrac": lambda gold: re.sub(r"\\[dt]?frac(?![a-z])", r"\\dfrac", gold),
    "with tfrac and spaces": lambda gold: re.sub(r"\\[dt]?frac(?![a-z])", r"\\tfrac ", gold),
    "without sizes": lambda gold: re.sub(r"\\(?:left|right)(?![a-z])", "", gold),
    "in display style": lambda gold: rf"\displaystyle {gold}",
    "with times": lambda gold: gold.replace(r"\cdot", r"\times"),
    "with cdot": lambda gold: gold.replace(r"\times", r"\cdot"),
    "in another font": lambda gold: re.sub(r"\\text(?=\{)", r"\\mathrm", gold),
    "with braces around exponents": lambda gold: re.sub(r"\^(\w)(?!\w)", r"^{\1}", gold),
    "without braces around exponents": lambda gold: re.sub(r"\^\{(\w)\}", r"^\1", gold),
    "with spaces around operators": lambda gold: re.sub(r"(?<=[\w)])([+=])(?=[\w\\(])", r" \1 ", gold),
    "with a degree sign": lambda gold: re.sub(r"\^\{?\\circ\}?", "°", gold),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_gold_equals_itself_in_another_spelling(pool: GraderPool, golds: list[str], spelling: str) -> None:
    assert exceptions(pool, [(gold, SPELLINGS[spelling](gold)) for gold in golds], True) == []


def test_a_fraction_equals_its_quotient_its_decimals_and_its_mixed_number(pool: GraderPool, golds: list[str]) -> None:
    pairs = []
    for gold in golds:
        if match := _FRACTION.match(gold):
            value = Fraction(int(match[2]), int(match[3])) * (-1 if match[1] else 1)
            pairs += [(gold, str(value)), (gold, rf"\frac{{{3 * value.numerator}}}{{{3 * value.denominator}}}")]
            if 10**20 % value.denominator == 0:
                pairs.append((gold, f"{Decimal(value.numerator) / value.denominator:f}"))
            whole, rest = divmod(abs(value.numerator), value.denominator)
            if whole and rest:
                pairs.append((gold, rf"{'-' if value < 0 else ''}{whole}\frac{{{rest}}}{{{value.denominator}}}"))
    assert exceptions(pool, pairs, True) == []


def test_a_rounded_decimal_never_equals_a_fraction_that_has_none(pool: GraderPool, golds: list[str]) -> None:
    pairs = []
    for gold in golds:
        match = _FRACTION.match(gold)
        if match and 10**20 % Fraction(int(match[2]), int(match[3])).denominator:
            pairs.append((gold, f"{match[1]}{int(match[2]) / int(match[3]):.6f}"))
    assert exceptions(pool, pairs, False) == []


def test_unordered_lists_have_no_order_and_no_element_may_be_missing(pool: GraderPool, golds: list[str]) -> None:
    equal, different = [], []
    for gold in golds:
        text = normalise(gold)
        node = read(text)
        parts = split_top_level(text, ",")
        is_plain = isinstance(node, Unordered) and node.kind == "list" and len(parts) == len(node.items)
        if (
            not is_plain
            or not isinstance(node, Unordered)
            or not all(isinstance(item, Leaf | Ordered) for item in node.items)
        ):
            continue
        if all(len(part) == 1 and part.isalpha() for part in parts):
            continue  # a ranking
        if "and" in text or "or" in text:
            continue  # joined by words already
        equal += [
            (gold, ", ".join(parts[::-1])),
            (gold, r" \text{ and } ".join(parts)),
            (gold, rf"\{{{', '.join(parts)}\}}"),
        ]
        different += [(gold, ", ".join(parts[1:])), (gold, ", ".join([*parts, "777"]))]
    assert exceptions(pool, equal, True) == []
    assert exceptions(pool, different, False) == []


def test_tuples_and_intervals_keep_their_order_their_brackets_and_their_length(
    pool: GraderPool, golds: list[str]
) -> None:
    pairs = []
    for gold in golds:
        text = normalise(gold)
        node = read(text)
        if not isinstance(node, Ordered) or node.delimiters not in INTERVALS or text[:1] not in "([":
            continue
        opening, inner, closing = text[0], text[1:-1], text[-1]
        parts = split_top_level(inner, ",;")
        pairs += [
            (gold, f"{'[' if opening == '(' else '('}{inner}{closing}"),
            (gold, rf"\{{{inner}\}}"),
            (gold, f"{opening}{inner}, 777{closing}"),
        ]
        if len(parts) == 2 and pool.grade_answer(parts[0], parts[1]).status is GradeStatus.WRONG:
            pairs.append((gold, f"{opening}{parts[1]},{parts[0]}{closing}"))
    assert exceptions(pool, pairs, False) == []


def test_a_bumped_digit_is_always_seen(pool: GraderPool, golds: list[str]) -> None:
    pairs = []
    for gold in golds:
        digits = list(re.finditer(r"\d", gold))
        if not digits or gold.count("=") > 1 or "= 56" in gold:  # one gold answer is a true equation of numbers
            continue
        places = {digits[0].start(), digits[-1].start()}
        pairs += [(gold, gold[:at] + str((int(gold[at]) + 1) % 10) + gold[at + 1 :]) for at in places]
        last = digits[-1].end()
        pairs.append((gold, f"{gold[:last]}7{gold[last:]}"))
    assert exceptions(pool, pairs, False) == []


def test_no_gold_equals_the_gold_of_another_problem(pool: GraderPool, golds: list[str]) -> None:
    shifted = golds[len(golds) // 2 :] + golds[: len(golds) // 2]
    assert exceptions(pool, list(zip(golds, shifted, strict=True)), False) == []


def test_hardly_any_gold_is_not_readable(pool: GraderPool, golds: list[str]) -> None:
    findings = list(audit_golds(((gold, gold) for gold in golds), pool))
    assert [finding for finding in findings if finding.status is GoldStatus.UNUSABLE] == []
    text_only = [finding for finding in findings if finding.status is GoldStatus.TEXT_ONLY]
    assert len(text_only) < len(findings) / 100, text_only
