"""Questions that take two computations: a function of the result of another family."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import sympy

from thor_ray.problems.families.base import Family, Operands, Worked
from thor_ray.problems.families.divisibility import GCD, LCM
from thor_ray.problems.families.primes_and_powers import BINOMIAL, digit_sum

_INNER = (GCD, LCM, BINOMIAL)
"""Families whose result is fed on; the first operand of an instance selects one."""


@dataclass(frozen=True, slots=True)
class _Outer:
    """What is asked about the inner result ``v``: wording, claim notation and computation."""

    goal: str
    notation: str
    apply: Callable[[int], int]


_OUTER = (
    _Outer("the number of divisors", "tau({v})", lambda v: int(sympy.divisor_count(v))),
    _Outer("the sum of the divisors", "sigma({v})", lambda v: int(sympy.divisor_sigma(v))),
    _Outer("the digit sum of the square", "digit_sum({v}^2)", lambda v: digit_sum(v * v)),
)
"""Functions of the inner result; the second operand of an instance selects one."""


def _draw(rng: Random, level: int) -> Operands:
    inner = rng.randrange(len(_INNER))
    return inner, rng.randrange(len(_OUTER)), *_INNER[inner].draw(rng, level)


def _canonical(operands: Operands) -> Operands:
    inner, outer, *rest = operands
    return inner, outer, *_INNER[inner].canonical(tuple(rest))


def _fields(operands: Operands) -> Mapping[str, str]:
    inner, outer, *rest = operands
    fields = _INNER[inner].fields(tuple(rest))
    given, goal = _INNER[inner].restatements[0].removesuffix(".").format(**fields).split(", and we want ")
    return {
        "inner": _INNER[inner].nouns[0].format(**fields),
        "outer": _OUTER[outer].goal,
        "given": given,
        "inner_goal": goal,
    }


def _work(operands: Operands) -> Worked:
    inner, outer, *rest = operands
    first = _INNER[inner].work(tuple(rest))
    result = str(_OUTER[outer].apply(int(first.answer)))
    second = f"{_OUTER[outer].notation.format(v=first.answer)} = {result}"
    return Worked((*first.lines, second), result)


COMPOSITE = Family(
    name="composite",
    draw=_draw,
    canonical=_canonical,
    fields=_fields,
    nouns=(
        "{outer} of v, where v is {inner}",
        "{outer} of {inner}",
        "{outer} of the number v such that v equals {inner}",
    ),
    restatements=(
        "{given}, and we want {inner_goal}, then {outer} of that.",
        "{given}, and we need {outer} of {inner_goal}.",
    ),
    work=_work,
)
