"""Gold answers against independent brute force, and claims against answers."""

import re
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.problems import FAMILIES, LEVELS, Problem, generate
from thor_ray.problems.families.base import FRAMES, is_heldout_phrasing, phrasings


def divides_all(divisor: int, numbers: list[int]) -> bool:
    return all(number % divisor == 0 for number in numbers)


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def evaluate_claim(claim: str) -> Fraction:
    """The value of a claim's left side, computed by definition from its text alone."""
    left, _, _ = claim.rpartition(" = ")
    numbers = integers(left)
    if left.startswith("gcd("):
        return Fraction(max(d for d in range(1, min(numbers) + 1) if divides_all(d, numbers)))
    if left.startswith("lcm("):
        multiple = numbers[0]
        while not all(multiple % number == 0 for number in numbers):
            multiple += numbers[0]
        return Fraction(multiple)
    if " mod " in left:
        base, exponent, modulus = numbers
        return Fraction(base**exponent % modulus)
    if "multiples of" in left:
        step, low, high = numbers
        multiples = [number for number in range(low, high + 1) if number % step == 0]
        return Fraction(sum(multiples) if left.startswith("sum") else len(multiples))
    if left.startswith("C("):
        total, chosen = numbers
        row = [1]
        for _ in range(total):
            row = [1, *(first + second for first, second in zip(row, row[1:], strict=False)), 1]
        return Fraction(row[chosen])
    if left.startswith(("tau(", "sigma(")):
        small = [d for d in range(1, int(numbers[0] ** 0.5) + 1) if numbers[0] % d == 0]
        divisors = {*small, *(numbers[0] // d for d in small)}
        return Fraction(len(divisors) if left.startswith("tau(") else sum(divisors))
    if left.startswith("prime("):
        candidate, found = 1, 0
        while found < numbers[0]:
            candidate += 1
            found += is_prime(candidate)
        return Fraction(candidate)
    if "primes from" in left:
        low, high = numbers
        return Fraction(sum(map(is_prime, range(low, high + 1))))
    if left.startswith("digit_sum("):
        base, exponent = numbers
        return Fraction(sum(map(int, str(base**exponent))))
    if left.startswith("a(0)"):
        return evaluate_recurrence(left)
    if ": " in left:
        return evaluate_system(left)
    return evaluate_expression(left)


def evaluate_recurrence(left: str) -> Fraction:
    conditions, _, sought = left.partition(": ")
    *starts, rule = conditions.split(", ")
    values = [integers(start)[1] for start in starts]
    program = rule.removeprefix("a(n) = ").replace("a(n-1)", "values[-1]").replace("a(n-2)", "values[-2]")
    while len(values) <= integers(sought)[0]:
        values.append(eval(program, {"values": values}))  # noqa: S307
    return Fraction(values[integers(sought)[0]])


def evaluate_system(left: str) -> Fraction:
    """Gaussian elimination on the equations, read as differences of linear functions."""
    conditions, _, unknown = left.partition(": ")
    rows = []
    for equation in conditions.split(", "):
        side, _, right = equation.partition(" = ")
        code = re.sub(r"(\d)([xy])", r"\1*\2", side)
        x, y = (eval(code, {"x": a, "y": b}) for a, b in ((1, 0), (0, 1)))  # noqa: S307
        rows.append([Fraction(x), Fraction(y), Fraction(int(right))])
    first, second = rows
    ratio = second[0] / first[0]
    y = (second[2] - ratio * first[2]) / (second[1] - ratio * first[1])
    return y if unknown == "y" else (first[2] - first[1] * y) / first[0]


def evaluate_expression(left: str) -> Fraction:
    assert re.fullmatch(r"[\d +\-*/()]+", left), left
    return Fraction(eval(re.sub(r"\d+", r"Fraction(\g<0>)", left), {"Fraction": Fraction}))  # noqa: S307


def claims(problem: Problem) -> list[str]:
    assert problem.solution is not None
    return problem.solution.split("\n")[1:-1]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_claims_equal_an_independent_computation(family: str, level: int) -> None:
    for problem in generate([family], [level], 12, seed=level, split="train"):
        assert len(claims(problem)) == (2 if family == "composite" else 1)
        for claim in claims(problem):
            assert Fraction(claim.rpartition(" = ")[2]) == evaluate_claim(claim), claim
        assert claims(problem)[-1].rpartition(" = ")[2] == problem.answer
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


@pytest.mark.parametrize("family", ["gcd", "lcm", "binomial", "arithmetic", "linear_system", "composite"])
def test_equal_problems_have_equal_keys(family: str) -> None:
    rng = Random(0)
    for level in LEVELS:
        operands = FAMILIES[family].draw(rng, level)
        assert FAMILIES[family].canonical(operands) == FAMILIES[family].canonical(mirrored(family, operands))


def mirrored(family: str, operands: tuple[int, ...]) -> tuple[int, ...]:
    """The same problem stated the other way round."""
    match family, operands:
        case ("gcd" | "lcm"), _:
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
