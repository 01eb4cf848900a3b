"""Families about primes, powers and selections."""

import math
from collections.abc import Mapping
from random import Random

import sympy

from thor_ray.problems.families.base import Family, Operands, Worked, unchanged


def digit_sum(number: int) -> int:
    """Sum of the decimal digits of a non-negative integer."""
    return sum(map(int, str(number)))


def _draw_index(rng: Random, level: int) -> Operands:
    return (rng.randint(*{1: (10, 299), 2: (300, 999), 3: (1000, 4999)}[level]),)


def _index(operands: Operands) -> Mapping[str, str]:
    return {"index": str(operands[0]), "ordinal": ordinal(operands[0])}


def ordinal(number: int) -> str:
    """``1`` as ``1st``, ``12`` as ``12th``, ``23`` as ``23rd``."""
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _nth_prime(operands: Operands) -> Worked:
    result = str(sympy.prime(operands[0]))
    return Worked((f"prime({operands[0]}) = {result}",), result)


def _draw_range(rng: Random, level: int) -> Operands:
    low = rng.randint(*{1: (10, 90), 2: (50, 500), 3: (500, 3000)}[level])
    return low, low + rng.randint(*{1: (40, 150), 2: (100, 450), 3: (300, 2000)}[level])


def _range_fields(operands: Operands) -> Mapping[str, str]:
    low, high = operands
    return {"low": str(low), "high": str(high)}


def _prime_count(operands: Operands) -> Worked:
    low, high = operands
    result = str(sympy.primepi(high) - sympy.primepi(low - 1))
    return Worked((f"count of primes from {low} to {high} = {result}",), result)


def _draw_modular_power(rng: Random, level: int) -> Operands:
    base = rng.randint(*{1: (2, 20), 2: (2, 99), 3: (20, 999)}[level])
    exponent = rng.randint(*{1: (5, 30), 2: (10, 99), 3: (50, 999)}[level])
    modulus = rng.randint(*{1: (7, 50), 2: (11, 99), 3: (101, 999)}[level])
    return base, exponent, modulus


def _modular_power_fields(operands: Operands) -> Mapping[str, str]:
    base, exponent, modulus = operands
    return {"base": str(base), "exponent": str(exponent), "modulus": str(modulus)}


def _modular_power(operands: Operands) -> Worked:
    base, exponent, modulus = operands
    result = str(pow(base, exponent, modulus))
    return Worked((f"{base}^{exponent} mod {modulus} = {result}",), result)


def _draw_power(rng: Random, level: int) -> Operands:
    base = rng.randint(*{1: (2, 60), 2: (11, 99), 3: (11, 199)}[level])
    exponent = rng.randint(*{1: (5, 15), 2: (10, 40), 3: (20, 99)}[level])
    return base, exponent


def _power_fields(operands: Operands) -> Mapping[str, str]:
    base, exponent = operands
    return {"base": str(base), "exponent": str(exponent)}


def _digit_sum(operands: Operands) -> Worked:
    base, exponent = operands
    result = str(digit_sum(base**exponent))
    return Worked((f"digit_sum({base}^{exponent}) = {result}",), result)


def _draw_selection(rng: Random, level: int) -> Operands:
    total = rng.randint(*{1: (10, 60), 2: (40, 150), 3: (100, 400)}[level])
    few = rng.randint(*{1: (2, 5), 2: (3, 6), 3: (4, 7)}[level])
    return total, rng.choice((few, total - few))


def _selection_key(operands: Operands) -> Operands:
    """Choosing ``k`` of ``n`` and leaving ``k`` of ``n`` behind are the same problem."""
    total, chosen = operands
    return total, min(chosen, total - chosen)


def _selection_fields(operands: Operands) -> Mapping[str, str]:
    total, chosen = operands
    return {"total": str(total), "chosen": str(chosen)}


def _binomial(operands: Operands) -> Worked:
    total, chosen = operands
    result = str(math.comb(total, chosen))
    return Worked((f"C({total}, {chosen}) = {result}",), result)


NTH_PRIME = Family(
    name="nth_prime",
    draw=_draw_index,
    canonical=unchanged,
    fields=_index,
    nouns=(
        "the {ordinal} prime number",
        "prime number {index} in the list of all primes",
        "the {ordinal} smallest prime",
    ),
    restatements=(
        "The index is {index}, and we want the prime with that index.",
        "Given index {index}, we need the prime at that place.",
    ),
    work=_nth_prime,
)

PRIME_COUNT = Family(
    name="prime_count",
    draw=_draw_range,
    canonical=unchanged,
    fields=_range_fields,
    nouns=(
        "the number of primes from {low} to {high}",
        "the number of prime numbers between {low} and {high}, inclusive",
        "the count of prime integers from {low} to {high}",
    ),
    restatements=(
        "The range is from {low} to {high}, and we want the count of primes.",
        "Given range {low} to {high}, we need how many primes there are.",
    ),
    work=_prime_count,
)

MODULAR_POWER = Family(
    name="modular_power",
    draw=_draw_modular_power,
    canonical=unchanged,
    fields=_modular_power_fields,
    nouns=(
        "the remainder when {base}^{exponent} is divided by {modulus}",
        "the residue of {base}^{exponent} modulo {modulus}",
        "the value of {base}^{exponent} mod {modulus}",
    ),
    restatements=(
        "The base is {base}, the exponent {exponent} and the modulus {modulus}, and we want the remainder.",
        "Given base {base}, exponent {exponent} and modulus {modulus}, we need the residue.",
    ),
    work=_modular_power,
)

DIGIT_SUM = Family(
    name="digit_sum",
    draw=_draw_power,
    canonical=unchanged,
    fields=_power_fields,
    nouns=(
        "the sum of the decimal digits of {base}^{exponent}",
        "the digit sum of {base}^{exponent}",
        "the total of all digits of the number {base}^{exponent}",
    ),
    restatements=(
        "The base is {base} and the exponent {exponent}, and we want the digit sum of the power.",
        "Given base {base} and exponent {exponent}, we need the digits of the power added up.",
    ),
    work=_digit_sum,
)

BINOMIAL = Family(
    name="binomial",
    draw=_draw_selection,
    canonical=_selection_key,
    fields=_selection_fields,
    nouns=(
        "the number of ways to choose {chosen} items from {total}",
        "the binomial coefficient {total} choose {chosen}",
        "the number of subsets with {chosen} elements of a set with {total} elements",
    ),
    restatements=(
        "There are {total} items and {chosen} are chosen, and we want the number of ways.",
        "Given {total} items of which {chosen} are taken, we need the number of selections.",
    ),
    work=_binomial,
)
