"""Each rule lets a good demonstration pass and rejects the fault it is there for."""

import pytest

from tests.unit.demonstrations.examples import EXCEPTION, OK, demonstration
from thor_ray.demonstrations import (
    OURS,
    Circumstances,
    build_rules,
    filters,
)
from thor_ray.demonstrations.code_quality import is_substantial
from thor_ray.problems import FAMILIES, LEVELS, generate
from thor_ray.refine import find_claims
from thor_ray.refine.styles import STYLES
from thor_ray.trajectory import ExecutionStatus

GOOD = demonstration()
CORRECTED = demonstration(blocks=(("print(gcd(96, 60))", EXCEPTION), ("import math\nprint(math.gcd(96, 60))", OK)))


@pytest.mark.parametrize(
    ("rule", "faulty", "reason"),
    [
        (filters.boxed(), demonstration(answer=None), "no box"),
        (filters.no_stray_fence(), demonstration(prose="```output\n12\n```"), "a fence outside actions"),
        (filters.paired_dollars(), demonstration(prose="$a^2$ and $b"), "unbalanced dollar signs"),
        (filters.no_repetition(), demonstration(prose="twenty characters and " * 30), "repetition"),
        (filters.fits(30), GOOD, "too long"),
        (filters.uses_code(), demonstration(blocks=()), "no program"),
        (
            filters.code_passes(every_block=False),
            demonstration(blocks=(("x", ExecutionStatus.INFRA_ERROR),), observed=None),
            "our own failure",
        ),
        (
            filters.code_passes(every_block=False),
            demonstration(blocks=(("x", EXCEPTION),), observed=None),
            "no program for a claim succeeded",
        ),
        (filters.code_passes(every_block=True), CORRECTED, "a program failed"),
        (filters.substantial_code(), demonstration(blocks=(("print(6 * 2)", OK),)), "trivial code"),
        (
            filters.substantial_code(),
            demonstration(blocks=(("import math\nmath.hcf(1)", EXCEPTION), ("print(6 * 2)", OK))),
            "trivial code",
        ),
        (filters.answer_observed(), demonstration(observed="13"), "the answer was not printed"),
        (filters.answer_correct(), demonstration(status="wrong"), "wrong"),
        (filters.answer_correct(), demonstration(status="timeout"), "timeout"),
        (filters.hard_enough({"p": 1.0}, 1.0), GOOD, "solved without tools"),
        (filters.not_in_tests({"p": "math500"}), GOOD, "in math500"),
        (filters.paired_dollars(prices=False), demonstration(prose="$1, $2 and $3"), "unbalanced dollar signs"),
    ],
)
def test_the_rule_rejects_its_fault(rule, faulty, reason):
    assert rule.judge([faulty]) == [reason]


@pytest.mark.parametrize("rule", build_rules(OURS, Circumstances(max_tokens=200)), ids=lambda rule: rule.name)
def test_a_good_demonstration_passes(rule):
    assert rule.judge([GOOD]) == [None]


def test_failed_attempts_may_come_first_where_that_is_allowed():
    assert filters.code_passes(every_block=False).judge([CORRECTED]) == [None]


def test_problems_solved_less_often_than_the_threshold_stay():
    assert filters.hard_enough({"p": 0.75}, 1.0).judge([GOOD]) == [None]
    assert filters.hard_enough({}, 1.0).judge([GOOD]) == [None]


def test_a_single_dollar_is_a_price():
    assert filters.paired_dollars().judge([demonstration(prose="It costs $12.")]) == [None]
    assert filters.paired_dollars().judge([demonstration(prose="$1, $2 and $3: \\boxed{6}.")]) == [None]
    assert filters.paired_dollars().judge([demonstration(prose="$a$, $b$ and \\$5")]) == [None]


def test_one_demonstration_per_problem_stays_whatever_the_order():
    several = [demonstration(f"a{number}", "p") for number in range(8)] + [demonstration("b", "q")]
    rule = filters.one_per_problem(seed=0)
    kept = {each.trajectory.id for each, why in zip(several, rule.judge(several), strict=True) if why is None}
    reverse = several[::-1]
    again = {each.trajectory.id for each, why in zip(reverse, rule.judge(reverse), strict=True) if why is None}
    assert kept == again
    assert len(kept) == 2
    assert "b" in kept
    drawn = {
        next(each.trajectory.id for each, why in zip(several, judged, strict=True) if why is None)
        for judged in (filters.one_per_problem(seed).judge(several) for seed in range(60))
    }
    assert len(drawn) == 8, "every one can be drawn"


def test_calls_are_balanced_by_keep_ratios():
    code = ("import math\nprint(math.gcd(96, 60))", OK)
    once = [demonstration(f"once{number}") for number in range(10)]
    twice = [demonstration(f"twice{number}", blocks=(code, code)) for number in range(6)]
    judged = filters.balanced_calls({1: 0.5}, seed=1).judge([*once, *twice])
    assert judged.count("1 programs") == 5
    assert judged[10:] == [None] * 6
    assert filters.balanced_calls({1: 0.0, 2: 1.0}, seed=1).judge([*once, *twice]).count(None) == 6


@pytest.mark.parametrize(
    ("code", "substantial"),
    [
        ("print(1 + 2)", False),
        ("x = 3\nprint(x ** 2)", False),
        ("import math\nprint(3)", False),
        ("import math\nprint(math.pi)", False),
        ("print(pow(2, 3))", False),
        ("not python", False),
        ("import math\nprint(math.gcd(4, 6))", True),
        ("from math import gcd as g\nprint(g(4, 6))", True),
        ("from fractions import *\nprint(Fraction(1, 2))", True),
        ("import sympy\nprint(sympy.sieve[4])", True),
        ("import sympy.ntheory\nprint(sympy.ntheory.totient(4))", True),
        ("for n in [1]:\n    print(n)", True),
        ("print(1 if 2 else 3)", True),
        ("print(sum(n for n in [1, 2]))", True),
        ("print(sum(map(int, '12')))", True),
        ("print(pow(2, 3, 5))", True),
    ],
)
def test_code_quality(code, substantial):
    assert is_substantial(code) is substantial


def test_every_right_style_is_worth_a_tool_call():
    solutions = [problem.solution or "" for problem in generate(list(FAMILIES), LEVELS, 300, seed=1, split="train")]
    for claim in find_claims("\n".join([*solutions, "5! + 1 = 121"])):
        for style in STYLES[claim.operation.kind]:
            assert style.flawed or is_substantial(style.program(claim.operation)), style
