"""Which computations are found in a text, and which are left alone."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.worked import claim_lines
from thor_ray.problems import FAMILIES, LEVELS, generate
from thor_ray.refine import OperationKind, find_claims


def only_claim(text):
    (claim,) = find_claims(text)
    return claim


@pytest.mark.parametrize("family", FAMILIES)
def test_each_claim_line_of_a_worked_solution_is_one_claim_and_no_other_line_is(family):
    for problem in generate([family], LEVELS, 60, seed=3, split="train"):
        assert problem.solution is not None
        lines = problem.solution.split("\n")
        claims = claim_lines(problem)
        assert [find_claims(line) for line in lines if line not in claims] == [[]] * (len(lines) - len(claims))
        for line in claims:
            claim = only_claim(line)
            assert (claim.start, claim.end) == (0, len(line))
            assert line == f"{claim.expression} = {claim.result}"


@pytest.mark.parametrize(
    ("text", "kind", "expression", "result"),
    [
        ("He has 12 * 7 = 84 apples.", OperationKind.INTEGER_ARITHMETIC, "12 * 7", "84"),
        ("That is 3 + 4 * 2 = 3 + 8 = 11.", OperationKind.INTEGER_ARITHMETIC, "3 + 4 * 2", "11"),
        ("x = 3 * 4 = 12", OperationKind.INTEGER_ARITHMETIC, "3 * 4", "12"),
        ("(3 + 4 = 7)", OperationKind.INTEGER_ARITHMETIC, "3 + 4", "7"),
        ("3/4 of 20 is 15.", OperationKind.RATIONAL_ARITHMETIC, "3/4 of 20", "15"),
        ("25% of 80 equals 20", OperationKind.RATIONAL_ARITHMETIC, "25% of 80", "20"),
        ("It costs $12*5=$60 a week.", OperationKind.INTEGER_ARITHMETIC, "12*5", "60"),
        ("1,200 * 3 = 3,600 dollars", OperationKind.INTEGER_ARITHMETIC, "1,200 * 3", "3600"),
        ("$7^{13} \\equiv 2 \\pmod{11}$", OperationKind.MODULAR_POWER, "7^{13} \\pmod{11}", "2"),
        ("7^13 ≡ 2 (mod 11), so", OperationKind.MODULAR_POWER, "7^13 (mod 11)", "2"),
        ("\\binom{12}{5} = 792", OperationKind.BINOMIAL, "\\binom{12}{5}", "792"),
        ("5!=120", OperationKind.NAMED_FUNCTIONS, "5!", "120"),
        ("gcd(4, 6) + 1 = 3", OperationKind.NAMED_FUNCTIONS, "gcd(4, 6) + 1", "3"),
        ("number of primes from 10 to 20 is 4", OperationKind.PRIME_COUNT, "number of primes from 10 to 20", "4"),
        ("2*a + b = 3; a - b = 0: a = 1", OperationKind.LINEAR_SYSTEM, "2*a + b = 3; a - b = 0: a", "1"),
        (
            "They used 6 gallons + 3 gallons = 9 gallons of gas.",
            OperationKind.INTEGER_ARITHMETIC,
            "6 gallons + 3 gallons",
            "9",
        ),
        ("20 miles / 5 miles/hour = 4 hours", OperationKind.RATIONAL_ARITHMETIC, "20 miles / 5 miles/hour", "4"),
        ("$83/necklace x 2 necklaces = $166", OperationKind.INTEGER_ARITHMETIC, "83/necklace x 2 necklaces", "166"),
        ("220km + 110km = 330 km.", OperationKind.INTEGER_ARITHMETIC, "220km + 110km", "330"),
        ("60*.5=$30", OperationKind.RATIONAL_ARITHMETIC, "60*.5", "30"),
        ("96 divided by 16 is 6", OperationKind.RATIONAL_ARITHMETIC, "96 divided by 16", "6"),
        ("3 times 4 is equal to 12", OperationKind.INTEGER_ARITHMETIC, "3 times 4", "12"),
        ("half of 30 = 15", OperationKind.RATIONAL_ARITHMETIC, "half of 30", "15"),
        ("2(3+4) = 14", OperationKind.INTEGER_ARITHMETIC, "2(3+4)", "14"),
        ("100 / 3 = 33.33", OperationKind.DECIMAL_ARITHMETIC, "100 / 3", "33.33"),
        (r"$6-\frac56=\boxed{\frac{31}{6}}$", OperationKind.RATIONAL_ARITHMETIC, r"6-\frac56", "31/6"),
        (r"$72^\circ + 84^\circ = \boxed{156^\circ}$", OperationKind.INTEGER_ARITHMETIC, r"72^\circ + 84", "156"),
        (
            r"\left(\frac{3}{4}\right)\left(\frac{1}{3}\right)=\frac{1}{4}",
            OperationKind.RATIONAL_ARITHMETIC,
            None,
            "1/4",
        ),
        (r"\frac{5\sqrt{8}}{\sqrt{2}} = 10", OperationKind.RADICALS, r"\frac{5\sqrt{8}}{\sqrt{2}}", "10"),
        (r"$100 \times 40 = 4{,}000$", OperationKind.INTEGER_ARITHMETIC, r"100 \times 40", "4000"),
        (r"3 + 4 &= 2 + 5 \\ &= 7", OperationKind.INTEGER_ARITHMETIC, "3 + 4", "7"),
        (r"$1 + 2 + \cdots + 10 = 55$", OperationKind.PROGRESSION_SUM, r"1 + 2 + \cdots + 10", "55"),
        ("the remainder when 100 is divided by 7 is 2", OperationKind.INTEGER_ARITHMETIC, None, "2"),
        ("the greatest common divisor of 12 and 18 is 6", OperationKind.GCD, None, "6"),
        ("the sum of the digits of 123 is 6", OperationKind.DIGIT_SUM, None, "6"),
        ("$3x+36=180$, so $3x=144$ and $x=\\boxed{48}$", OperationKind.LINEAR_EQUATION, "3x+36=180", "48"),
        ("Since 91 is divisible by 7, it is composite.", OperationKind.DIVISIBILITY, "91 is divisible by 7", "True"),
        ("Note that 91 is not prime.", OperationKind.PRIMALITY, "91 is not prime", "False"),
        ("So 60 has 12 positive divisors.", OperationKind.DIVISOR_COUNT, "60 has 12 positive divisors", "12"),
        (
            "f(1) = 1, f(2) = 1, f(k) = f(k-1) + f(k-2): f(10) = 55",
            OperationKind.RECURRENCE,
            "f(1) = 1, f(2) = 1, f(k) = f(k-1) + f(k-2): f(10)",
            "55",
        ),
    ],
)
def test_claims_in_prose(text, kind, expression, result):
    claim = only_claim(text)
    assert (claim.operation.kind, claim.result) == (kind, result)
    assert expression is None or claim.expression == expression


@pytest.mark.parametrize(
    "text",
    [
        "We have 12 apples.",
        "x = 12",
        "12 = 12",
        "2x + 3 * 4 = 20",
        "3 * 4 = 12x",
        "3 * 4 = 12 + y",
        "3 * 4 = 12%",
        "24 = 2^3 * 3",
        "f(2 + 3) = 5",
        "5 != 3 + 1",
        "version 1.2.3 + 4 = 5",
        "50 minutes is 5/6 hours",
        "a(0) = 3, a(5) = 9: a(6) = 507",
        "a(0) = 3, a(n) = 2*a(n-2) + 5: a(6) = 507",
        "2x + 3y = 12, 4x - z = 10: x = 3",
        "digit_sum(1/3) = 9",
        "the last digit of 3 * 4 is 2",
        "3/8 is equal to $375",
        "1/3 = 20 students",
        "1% = 19",
        "5 * 2000 = 10 thousand",
        "2 1/2 * 4 = 10",
        "5 * 1/2 = 2 1/2",
        r"\sin 30 + 1 = 1.5",
        r"P \left( \frac{7}{2} \right) = 4",
        r"\frac{7}{9} \cdot 10 = 7.\overline{7}",
        r"2^3 \equiv -1 \pmod{9}",
        r"3 \cdot 2 = 6 \pi",
        "Profit - 3 * 4 = 12",
        "18 is divisible by 3 and 2",
        "x + 27 is divisible by 9",
        "2x + 3 = 7",
        "2x + 3y = 7, so x = 2",
        "x^2 = 4, so x = 2",
        "2x + 3 = 2x + 4, so x = 2",
        "[asy] draw((0,0)--(3 + 4 = 7)); [/asy]",
    ],
)
def test_what_is_no_whole_computation_is_left_alone(text):
    assert find_claims(text) == []


def test_several_claims_come_from_left_to_right():
    claims = find_claims("It costs 3 * 4 = 12 and with tax 12 + 2 = 14.")
    assert [claim.result for claim in claims] == ["12", "14"]
    assert claims[0].end < claims[1].start


mathematical = st.lists(
    st.sampled_from(
        "0 1 12 345 0.5 , . ; : ( ) [ ] { } + - * / ^ ** ! % = ≡ $ mod of is and x y a n gcd( lcm( tau( \\frac{ \\binom{ "
        "count sum multiples primes from to \n".split(" ")
    ),
    max_size=40,
).map(" ".join)


@given(st.text() | mathematical | mathematical.map(lambda text: text.replace(" ", "")))
def test_any_text_is_read_and_claims_lie_inside_it_without_overlap(text):
    position = 0
    for claim in find_claims(text):
        assert position <= claim.start < claim.result_start < claim.result_end <= claim.end <= len(text)
        position = claim.end


@pytest.mark.parametrize("unit", ["1+", "1 + 1 = ", "(", "2^", "gcd(", "a(0) = 1, ", "1,234", "x + ", "-", "\\frac{"])
def test_long_hostile_text_takes_time_in_proportion(unit):
    started = time.thread_time()
    find_claims(unit * (20_000 // len(unit)))
    assert time.thread_time() - started < 60
