r"""Expressions as trees: what ``parsing`` makes of LaTeX, and what ``rational`` and ``evaluation`` compute.

What has no arithmetic meaning, an accent, a derivative, an unknown function, stays in the tree as a name: it equals
itself and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Constant:
    r"""``\pi``, ``e`` or ``i``, by that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, or anything else that only stands for itself; index, primes and accents are part of the name."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator applied to arguments.

    Attributes:
        name: ``+``, ``*``, ``reciprocal``, ``^``, a key of ``evaluation.FUNCTIONS``, or the name of an undefined function.
        arguments: The operands, in order.
    """

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple["Expression", ...], ...]


Expression = Number | Constant | Symbol | Call | Matrix


@dataclass(frozen=True, slots=True)
class Relation:
    r"""``sides[0] operators[0] sides[1] ...``, operators among ``= < > \le \ge \ne``."""

    sides: tuple[Expression, ...]
    operators: tuple[str, ...]


def subtrees(expression: Expression) -> Iterator[Expression]:
    """The tree itself and every tree within it."""
    pending: list[Expression] = [expression]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Call):
            pending.extend(node.arguments)
        elif isinstance(node, Matrix):
            pending.extend(cell for row in node.rows for cell in row)
