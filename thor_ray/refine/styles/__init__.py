"""The pool of styles: right ones, and flawed ones as base models really write them.

Flawed styles are functions that were removed or never existed, modules that were not imported, spellings of Python 2,
results that are never printed. Each of them truly fails in the sandbox, which a test runs them all to see.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from thor_ray.refine.operations import OperationKind
from thor_ray.refine.styles import algebra, counting, number_theory
from thor_ray.refine.styles.style import Style

STYLES: Final[Mapping[OperationKind, tuple[Style, ...]]] = MappingProxyType(
    {**number_theory.STYLES, **counting.STYLES, **algebra.STYLES}
)
"""All styles of every kind of operation."""

__all__ = ["STYLES", "Style"]
