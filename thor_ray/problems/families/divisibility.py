"""Families about divisors and multiples."""

import math
from collections.abc import Mapping
from random import Random

import sympy

from thor_ray.problems.families.base import (
    Family,
    Operands,
    Worked,
    enumeration,
    sorted_operands,
    unchanged,
)


def _draw_sharing_a_factor(rng: Random, level: int) -> Operands:
    """Two numbers (three at level 3) with a common factor > 1, so that the answer is no guess."""
    factor = rng.randint(*{1: (2, 12), 2: (6, 40), 3: (4, 30)}[level])
    largest = {1: 99, 2: 999, 3: 999}[level] // factor
    count = 3 if level == 3 else 2
    return tuple(factor * multiplier for multiplier in rng.sample(range(2, largest + 1), count))


def _draw_small_for_lcm(rng: Random, level: int) -> Operands:
    low, high = {1: (6, 40), 2: (20, 150), 3: (6, 60)}[level]
    return tuple(rng.sample(range(low, high + 1), 3 if level == 3 else 2))


def _numbers(operands: Operands) -> Mapping[str, str]:
    return {"numbers": enumeration(operands)}


def _gcd(operands: Operands) -> Worked:
    result = str(math.gcd(*operands))
    return Worked((f"gcd({', '.join(map(str, operands))}) = {result}",), result)


def _lcm(operands: Operands) -> Worked:
    result = str(math.lcm(*operands))
    return Worked((f"lcm({', '.join(map(str, operands))}) = {result}",), result)


def _draw_multiples(rng: Random, level: int) -> Operands:
    step = rng.randint(*{1: (3, 12), 2: (3, 30), 3: (7, 60)}[level])
    low = rng.randint(*{1: (10, 60), 2: (10, 300), 3: (100, 999)}[level])
    width = rng.randint(*{1: (30, 130), 2: (150, 600), 3: (600, 4000)}[level])
    return step, low, low + width


def _range_fields(operands: Operands) -> Mapping[str, str]:
    step, low, high = operands
    return {"step": str(step), "low": str(low), "high": str(high)}


def _multiples(operands: Operands) -> range:
    step, low, high = operands
    return range(-(-low // step) * step, high + 1, step)


def _multiple_count(operands: Operands) -> Worked:
    step, low, high = operands
    result = str(len(_multiples(operands)))
    return Worked((f"count of multiples of {step} from {low} to {high} = {result}",), result)


def _multiple_sum(operands: Operands) -> Worked:
    step, low, high = operands
    result = str(sum(_multiples(operands)))
    return Worked((f"sum of multiples of {step} from {low} to {high} = {result}",), result)


def _draw_number(rng: Random, level: int) -> Operands:
    return (rng.randint(*{1: (40, 499), 2: (500, 4999), 3: (5000, 99999)}[level]),)


def _number(operands: Operands) -> Mapping[str, str]:
    return {"number": str(operands[0])}


def _divisor_count(operands: Operands) -> Worked:
    result = str(sympy.divisor_count(operands[0]))
    return Worked((f"tau({operands[0]}) = {result}",), result)


def _divisor_sum(operands: Operands) -> Worked:
    result = str(sympy.divisor_sigma(operands[0]))
    return Worked((f"sigma({operands[0]}) = {result}",), result)


GCD = Family(
    name="gcd",
    draw=_draw_sharing_a_factor,
    canonical=sorted_operands,
    fields=_numbers,
    nouns=(
        "the greatest common divisor of {numbers}",
        "the largest integer that divides {numbers}",
        "the greatest common factor of {numbers}",
    ),
    restatements=(
        "The numbers are {numbers}, and we want their greatest common divisor.",
        "Given {numbers}, we need the greatest common divisor.",
    ),
    work=_gcd,
)

LCM = Family(
    name="lcm",
    draw=_draw_small_for_lcm,
    canonical=sorted_operands,
    fields=_numbers,
    nouns=(
        "the least common multiple of {numbers}",
        "the smallest positive integer divisible by {numbers}",
        "the lowest common multiple of {numbers}",
    ),
    restatements=(
        "The numbers are {numbers}, and we want their least common multiple.",
        "Given {numbers}, we need the least common multiple.",
    ),
    work=_lcm,
)

MULTIPLE_COUNT = Family(
    name="multiple_count",
    draw=_draw_multiples,
    canonical=unchanged,
    fields=_range_fields,
    nouns=(
        "the number of multiples of {step} from {low} to {high}",
        "the number of integers from {low} to {high} that are divisible by {step}",
        "the count of integers between {low} and {high}, inclusive, that are divisible by {step}",
    ),
    restatements=(
        "The step is {step} and the range is from {low} to {high}, and we want the count of multiples.",
        "Given step {step} and range {low} to {high}, we need how many multiples there are.",
    ),
    work=_multiple_count,
)

MULTIPLE_SUM = Family(
    name="multiple_sum",
    draw=_draw_multiples,
    canonical=unchanged,
    fields=_range_fields,
    nouns=(
        "the sum of the multiples of {step} from {low} to {high}",
        "the sum of all integers from {low} to {high} that are divisible by {step}",
        "the total of the multiples of {step} between {low} and {high}, inclusive",
    ),
    restatements=(
        "The step is {step} and the range is from {low} to {high}, and we want the sum of multiples.",
        "Given step {step} and range {low} to {high}, we need the multiples added up.",
    ),
    work=_multiple_sum,
)

DIVISOR_COUNT = Family(
    name="divisor_count",
    draw=_draw_number,
    canonical=unchanged,
    fields=_number,
    nouns=(
        "the number of positive divisors of {number}",
        "the number of positive integers that divide {number}",
        "the count of positive factors of {number}",
    ),
    restatements=(
        "The number is {number}, and we want how many divisors it has.",
        "Given {number}, we need the number of its divisors.",
    ),
    work=_divisor_count,
)

DIVISOR_SUM = Family(
    name="divisor_sum",
    draw=_draw_number,
    canonical=unchanged,
    fields=_number,
    nouns=(
        "the sum of the positive divisors of {number}",
        "the total of all positive factors of {number}",
        "the sum of all positive integers that divide {number}",
    ),
    restatements=(
        "The number is {number}, and we want the sum of its divisors.",
        "Given {number}, we need its divisors added up.",
    ),
    work=_divisor_sum,
)
