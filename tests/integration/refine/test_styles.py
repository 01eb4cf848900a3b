"""Every style of every operation, run for real: right ones print the value, flawed ones fail."""

from fractions import Fraction
from random import Random

import pytest

from sandbox import Sandbox
from tests.support.worked import claim_lines
from thor_ray.problems import FAMILIES, LEVELS, generate
from thor_ray.refine import OperationKind, find_claims
from thor_ray.refine.agreement import Agreement, agreement
from thor_ray.refine.styles import STYLES

EXTRA_STEPS = (
    "gcd(96, 60) + 5! = 132",
    "C(6, 2) * tau(12) - 1 = 89",
    "12 * 7 = 84",
    "2^10 - (3 - 5) * 4 = 1032",
    "3/4 of 20 = 15",
    "2.5 * 4 - 1 = 9",
    "25% of 90 = 45/2",
    "(7 - 10) / 6 = -1/2",
    "f(1) = 1, f(2) = 1, f(k) = f(k-1) + f(k-2): f(12) = 144",
    "a(0) = 2, a(n) = -a(n-1) + 3: a(5) = 1",
    "a + b = 3, a - b = 0: b = 3/2",
    "2.5 * 3 = 7.5",
    "100 / 3 = 33.333",
    "4 / 5 = .8",
    "3(x - 2) + 6 = 21, so x = 7",
    "\\frac{2x + 4}{3} = x - 1 gives x = 7",
    "2 + 4 + ... + 20 = 110",
    "\\sqrt{50}/\\sqrt{2} = 5",
    "(\\sqrt{7} + 1)(\\sqrt{7} - 1) = 6",
    "91 is divisible by 7",
    "91 is not divisible by 5",
    "97 is prime",
    "91 is not prime",
    "60 has 12 positive divisors",
)


@pytest.fixture(scope="module")
def claims():
    """Of each kind of operation a few claims, each of which is true."""
    steps = list(EXTRA_STEPS)
    for family in FAMILIES:
        for problem in generate([family], LEVELS, 6, seed=5, split="train"):
            steps += claim_lines(problem)
    found = [claim for step in steps for claim in find_claims(step)]
    assert {claim.operation.kind for claim in found} == set(OperationKind)
    return Random(0).sample(found, len(found))


@pytest.fixture(scope="module")
def code_runner():
    with Sandbox(workers=1, preload=("sympy",)) as sandbox:
        yield sandbox


@pytest.mark.parametrize("kind", OperationKind)
def test_right_styles_print_the_value_and_flawed_ones_fail(kind, claims, code_runner):
    trials = [
        (claim, style)
        for claim in claims
        if claim.operation.kind is kind
        for style in STYLES[kind]
        if style.fits(claim.operation)
    ]
    assert {style for _, style in trials} == set(STYLES[kind]), "each style has run at least once"
    results = code_runner.run_batch([style.program(claim.operation) for claim, style in trials])
    for (claim, style), result in zip(trials, results, strict=True):
        told = f"{style.tool} on {claim.expression}: {result.status}, {result.stdout!r}, {result.stderr!r}"
        if style.flawed:
            assert not (result.ok and result.stdout.strip()), told
            assert style.tool == "a variable" or result.exc_type is not None, told
        else:
            assert result.ok, told
            assert agreement(claim.result, result.stdout.strip()) is Agreement.SAME, told
            if kind is not OperationKind.DECIMAL_ARITHMETIC and claim.result not in ("True", "False"):
                assert result.stdout.strip() == str(Fraction(claim.result)), told
