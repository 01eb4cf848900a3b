"""The registry of problem families."""

from collections.abc import Mapping
from types import MappingProxyType

from thor_ray.problems.families.algebra import ARITHMETIC, LINEAR_SYSTEM, RECURRENCE
from thor_ray.problems.families.base import FRAMES, LEVELS, Family, phrasings
from thor_ray.problems.families.chain import CHAIN
from thor_ray.problems.families.composite import COMPOSITE
from thor_ray.problems.families.divisibility import (
    DIVISOR_COUNT,
    DIVISOR_SUM,
    GCD,
    LCM,
    MULTIPLE_COUNT,
    MULTIPLE_SUM,
)
from thor_ray.problems.families.primes_and_powers import (
    BINOMIAL,
    DIGIT_SUM,
    MODULAR_POWER,
    NTH_PRIME,
    PRIME_COUNT,
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            GCD,
            LCM,
            MODULAR_POWER,
            MULTIPLE_COUNT,
            MULTIPLE_SUM,
            BINOMIAL,
            DIVISOR_COUNT,
            DIVISOR_SUM,
            NTH_PRIME,
            PRIME_COUNT,
            DIGIT_SUM,
            RECURRENCE,
            LINEAR_SYSTEM,
            ARITHMETIC,
            COMPOSITE,
            CHAIN,
        )
    }
)
"""Every problem family by name."""

__all__ = ["FAMILIES", "FRAMES", "LEVELS", "Family", "phrasings"]
