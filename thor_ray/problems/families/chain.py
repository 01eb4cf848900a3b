"""Questions that take three computations, each on the result of the one before.

They leave little room for failed attempts: under a budget of four calls a trajectory may fail once. Questions name the
computations in the order in which they are made, so that it is programs that decide, not reading. The shipped base policy
was pretrained without them (`thor_ray.tiny.corpus`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

import sympy

from thor_ray.problems.families.base import Family, Operands, Worked
from thor_ray.problems.families.divisibility import DIVISOR_SUM, GCD, LCM, MULTIPLE_COUNT
from thor_ray.problems.families.primes_and_powers import BINOMIAL, MODULAR_POWER, NTH_PRIME, PRIME_COUNT, digit_sum

_FIRST: Final = (GCD, LCM, BINOMIAL, MULTIPLE_COUNT, NTH_PRIME, PRIME_COUNT, MODULAR_POWER, DIVISOR_SUM)
"""Families whose result is fed on; the first operand of an instance selects one."""


@dataclass(frozen=True, slots=True)
class _Link:
    """A function of the result ``v`` before it.

    Attributes:
        goal: What it asks for, such as "the digit sum of the square".
        notation: Its claim.
        apply: Its value.
        largest: Of the arguments for which every right program ends in good time.
    """

    goal: str
    notation: str
    apply: Callable[[int], int]
    largest: int


_LINKS: Final = (
    _Link("the number of divisors", "tau({v})", lambda v: int(sympy.divisor_count(v)), 10**9),
    _Link("the sum of the divisors", "sigma({v})", lambda v: int(sympy.divisor_sigma(v)), 10**9),
    _Link("the digit sum of the square", "digit_sum({v}^2)", lambda v: digit_sum(v * v), 10**12),
    _Link("the remainder modulo 97 of the cube", "{v}^3 mod 97", lambda v: pow(v, 3, 97), 10**12),
)
"""Functions of a result; the second and third operand of an instance select one each."""

_TRIES: Final = 10
"""Draws of functions for one inner result before the inner result is drawn again."""


def _draw(rng: Random, level: int) -> Operands:
    while True:
        first = rng.randrange(len(_FIRST))
        operands = _FIRST[first].draw(rng, level)
        value = int(_FIRST[first].work(operands).answer)
        for _ in range(_TRIES):
            links = rng.sample(range(len(_LINKS)), 2)
            if _fits(value, links):
                return first, *links, *operands


def _fits(value: int, links: list[int]) -> bool:
    """Whether each function gets a positive argument that is not too large for it."""
    for link in links:
        if not 0 < value <= _LINKS[link].largest:
            return False
        value = _LINKS[link].apply(value)
    return True


def _canonical(operands: Operands) -> Operands:
    first, second, third, *rest = operands
    return first, second, third, *_FIRST[first].canonical(tuple(rest))


def _fields(operands: Operands) -> Mapping[str, str]:
    first, second, third, *rest = operands
    fields = _FIRST[first].fields(tuple(rest))
    given, goal = _FIRST[first].restatements[0].removesuffix(".").format(**fields).split(", and we want ")
    return {
        "inner": _FIRST[first].nouns[0].format(**fields),
        "middle": _LINKS[second].goal,
        "outer": _LINKS[third].goal,
        "given": given,
        "inner_goal": goal,
    }


def _work(operands: Operands) -> Worked:
    first, *links = operands[:3]
    worked = _FIRST[first].work(tuple(operands[3:]))
    lines, value = list(worked.lines), worked.answer
    for link in links:
        result = str(_LINKS[link].apply(int(value)))
        # Says what comes next, so that a policy need not count how far it has come.
        lines.append(f"Now we want {_LINKS[link].goal} of {value}.")
        lines.append(f"{_LINKS[link].notation.format(v=value)} = {result}")
        value = result
    return Worked(tuple(lines), value)


CHAIN = Family(
    name="chain",
    draw=_draw,
    canonical=_canonical,
    fields=_fields,
    nouns=(
        "the last of three numbers: {inner}, then {middle} of that, then {outer} of that",
        "the end of a chain: {inner}, then {middle} of that, then {outer} of that",
        "the number that we get from {inner} by taking {middle} of that, then {outer} of that",
    ),
    restatements=(
        "{given}, and we want {inner_goal}, then {middle} of that, then {outer} of that.",
        "{given}, and we need {inner_goal}, then {middle} of that, then {outer} of that.",
    ),
    work=_work,
)
