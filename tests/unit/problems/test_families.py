"""Gold answers against independent brute force, and claims against answers."""

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import count, islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.worked import claim_lines
from thor_ray.problems import FAMILIES, LEVELS, generate
from thor_ray.problems.families.base import FRAMES, is_heldout_phrasing, phrasings


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def divisors(number: int) -> set[int]:
    small = [divisor for divisor in range(1, int(number**0.5) + 1) if number % divisor == 0]
    return {*small, *(number // divisor for divisor in small)}


def multiples(step: int, low: int, high: int) -> list[int]:
    return [number for number in range(low, high + 1) if number % step == 0]


def least_common_multiple(*numbers: int) -> int:
    return next(
        multiple for multiple in count(numbers[0], numbers[0]) if all(multiple % number == 0 for number in numbers)
    )


def pascal(total: int, chosen: int) -> int:
    row = [1]
    for _ in range(total):
        row = [1, *map(sum, pairwise(row)), 1]
    return row[chosen]


def prime(index: int) -> int:
    return next(islice(filter(is_prime, count(2)), index - 1, None))


BY_DEFINITION: dict[str, Callable[..., int]] = {
    r"gcd\(.*\)": lambda *numbers: max(set.intersection(*map(divisors, numbers))),
    r"lcm\(.*\)": least_common_multiple,
    r"\d+\^\d+ mod \d+": lambda base, exponent, modulus: base**exponent % modulus,
    r"count of multiples of .*": lambda *given: len(multiples(*given)),
    r"sum of multiples of .*": lambda *given: sum(multiples(*given)),
    r"C\(.*\)": pascal,
    r"tau\(.*\)": lambda number: len(divisors(number)),
    r"sigma\(.*\)": lambda number: sum(divisors(number)),
    r"prime\(.*\)": prime,
    r"count of primes from .*": lambda low, high: sum(map(is_prime, range(low, high + 1))),
    r"digit_sum\(.*\)": lambda base, exponent: sum(map(int, str(base**exponent))),
}
"""What each notation means, spelled out on the numbers that stand in it."""

COMPUTATIONS = {"composite": 2, "chain": 3}
"""Of families whose problems take more than one."""


def evaluate_claim(claim: str) -> Fraction:
    """The value of a claim's left side, computed by definition from its text alone."""
    left, _, _ = claim.rpartition(" = ")
    for notation, compute in BY_DEFINITION.items():
        if re.fullmatch(notation, left):
            return Fraction(compute(*integers(left)))
    if left.startswith("a(0)"):
        return evaluate_recurrence(left)
    return evaluate_system(left) if ": " in left else evaluate_expression(left)


def evaluate_recurrence(left: str) -> Fraction:
    conditions, _, sought = left.partition(": ")
    *starts, rule = conditions.split(", ")
    values = [integers(start)[1] for start in starts]
    program = rule.removeprefix("a(n) = ").replace("a(n-1)", "values[-1]").replace("a(n-2)", "values[-2]")
    while len(values) <= integers(sought)[0]:
        values.append(eval(program, {"values": values}))
    return Fraction(values[integers(sought)[0]])


def evaluate_system(left: str) -> Fraction:
    """Elimination on the equations, whose coefficients are their left sides' values at unit vectors."""
    conditions, _, unknown = left.partition(": ")
    rows = []
    for equation in conditions.split(", "):
        side, _, right = equation.partition(" = ")
        code = re.sub(r"(\d)([xy])", r"\1*\2", side)
        rows.append([Fraction(eval(code, {"x": x, "y": 1 - x})) for x in (1, 0)] + [Fraction(right)])
    first, second = rows
    ratio = second[0] / first[0]
    y = (second[2] - ratio * first[2]) / (second[1] - ratio * first[1])
    return y if unknown == "y" else (first[2] - first[1] * y) / first[0]


def evaluate_expression(left: str) -> Fraction:
    assert re.fullmatch(r"[\d +\-*/()]+", left), left
    return Fraction(eval(re.sub(r"\d+", r"Fraction(\g<0>)", left), {"Fraction": Fraction}))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_claims_equal_an_independent_computation(family: str, level: int) -> None:
    for problem in generate([family], [level], 6, seed=level, split="train"):
        claims = claim_lines(problem)
        assert len(claims) == COMPUTATIONS.get(family, 1)
        for claim in claims:
            assert Fraction(claim.rpartition(" = ")[2]) == evaluate_claim(claim), claim
        assert claims[-1].rpartition(" = ")[2] == problem.answer
        assert str(Fraction(problem.answer)) == problem.answer


@pytest.mark.parametrize("family", FAMILIES)
def test_a_solution_restates_the_numbers_of_the_question_and_ends_with_the_box(family: str) -> None:
    for problem in generate([family], LEVELS, 30, seed=5, split="heldout"):
        assert problem.solution is not None
        restatement, *_, last = problem.solution.split("\n")
        asked = sorted(re.findall(r"\d+", problem.question))
        assert sorted(re.findall(r"\d+", restatement)) == asked
        assert last == rf"The answer is \boxed{{{problem.answer}}}."
        assert "```" not in problem.solution


@pytest.mark.parametrize("family", ["gcd", "lcm", "binomial", "arithmetic", "linear_system", "composite", "chain"])
def test_equal_problems_have_equal_keys(family: str) -> None:
    rng = Random(0)
    for level in LEVELS:
        operands = FAMILIES[family].draw(rng, level)
        assert FAMILIES[family].canonical(operands) == FAMILIES[family].canonical(mirrored(family, operands))


def mirrored(family: str, operands: tuple[int, ...]) -> tuple[int, ...]:
    """The same problem stated the other way round."""
    match family, operands:
        case (("gcd" | "lcm"), _):
            return operands[::-1]
        case "binomial", (total, chosen):
            return total, total - chosen
        case "arithmetic", (2, *fractions):
            return 2, *fractions[2:], *fractions[:2]
        case "arithmetic", (shape, first, second, *rest):
            return shape, second, first, *rest
        case "linear_system", (*equations, unknown):
            return *equations[3:], *equations[:3], unknown
        case "composite", (inner, outer, *rest):
            return inner, outer, *mirrored(("gcd", "lcm", "binomial")[inner], tuple(rest))
        case "chain", (first, second, third, *rest):
            symmetric = {0: "gcd", 1: "lcm", 2: "binomial"}
            mirror = mirrored(symmetric[first], tuple(rest)) if first in symmetric else rest
            return first, second, third, *mirror
    raise AssertionError(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_noun_phrase_and_each_frame_is_trained_on_but_not_every_combination(family: str) -> None:
    train = set(phrasings(FAMILIES[family], heldout=False))
    heldout = set(phrasings(FAMILIES[family], heldout=True))
    assert not train & heldout
    assert heldout
    assert {noun for noun, _ in train} == set(FAMILIES[family].nouns)
    assert {frame for _, frame in train} == set(FRAMES)


@given(noun=st.integers(0, 50))
def test_exactly_one_frame_of_a_noun_phrase_is_held_out(noun: int) -> None:
    assert sum(is_heldout_phrasing(noun, frame) for frame in range(len(FRAMES))) == 1


def test_a_chain_says_before_each_further_computation_what_is_wanted_of_the_result_before() -> None:
    for problem in generate(["chain"], LEVELS, 20, seed=1, split="train"):
        assert problem.solution is not None
        first, wanted, second, wanted_last, third = problem.solution.split("\n")[1:-1]
        assert [first, second, third] == claim_lines(problem)
        for claim, sentence in ((first, wanted), (second, wanted_last)):
            assert sentence.startswith("Now we want ")
            assert sentence.endswith(f" of {claim.rpartition(' = ')[2]}.")
            goal = sentence.removeprefix("Now we want ").rpartition(" of ")[0]
            assert f", then {goal} of that" in problem.question or f"taking {goal} of that" in problem.question
