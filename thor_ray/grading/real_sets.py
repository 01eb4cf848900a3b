r"""Sets of real numbers in a normal form, so that ``x \ne 0`` equals ``(-\infty,0) \cup (0,\infty)``."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from thor_ray.grading.structure import INTERVALS, Difference, Equation, Leaf, Membership, Node, Ordered, Unordered

Bound = Fraction | float
"""An endpoint; floats are infinite."""
Reader = Callable[[str], Bound | None]
"""The value of a text, or ``None`` if it is not a real number."""


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """A place between real numbers: just below ``bound`` or just above it."""

    bound: Bound
    is_above: bool


RealSet = tuple[tuple[Cut, Cut], ...]
"""Disjoint, not adjacent, non-empty pieces in ascending order, each from one cut to another."""

_LEAST, _GREATEST = Cut(-math.inf, True), Cut(math.inf, False)


def as_real_set(node: Node, value: Reader) -> RealSet | None:
    """The set of real numbers that a node denotes, or ``None`` if it denotes none that can be read."""
    match node:
        case Ordered(delimiters=delimiters, items=(Leaf(text=low), Leaf(text=high))) if delimiters in INTERVALS:
            bounds = value(low), value(high)
            if bounds[0] is None or bounds[1] is None:
                return None
            return _normal([(Cut(bounds[0], delimiters[0] == "("), Cut(bounds[1], delimiters[1] == "]"))])
        case Ordered(delimiters="exclusion", items=(_, excluded)):
            points = as_real_set(excluded, value)
            return None if points is None else _complement(points)
        case Unordered(kind="list", items=items, conjunction=conjunction) if variable_of_set(node):
            return _combined([as_real_set(item, value) for item in items], conjunction)
        case Unordered(items=items):
            return _combined([as_real_set(item, value) for item in items], "or")
        case Membership(domain=domain):
            return as_real_set(domain, value)
        case Equation(name=str(), sides=(side,)):
            return as_real_set(side, value)
        case Difference(minuend=minuend, subtrahend=subtrahend):
            return _difference(as_real_set(minuend, value), as_real_set(subtrahend, value))
        case Leaf(text=text):
            point = value(text)
            return None if point is None else _normal([(Cut(point, False), Cut(point, True))])
        case _:
            return None


def variable_of_set(node: Node) -> str | None:
    """The variable that the set is a range of, if it is given by conditions on one."""
    match node:
        case Membership(variable=variable):
            return variable
        case Ordered(delimiters="exclusion", items=(Leaf(text=text), _)):
            return text
        case Unordered(kind="list", items=items):
            return next((name for item in items if (name := variable_of_set(item))), None)
        case _:
            return None


def is_set(node: Node) -> bool:
    """Whether a node can be nothing but a set with infinitely many elements, or one that is given by conditions."""
    match node:
        case Ordered(delimiters=delimiters, items=items):
            return delimiters == "exclusion" or (delimiters in INTERVALS and len(items) == 2)
        case Unordered(kind=kind, items=items):
            return kind == "union" or any(map(_is_range, items))
        case Membership() | Difference():
            return True
        case _:
            return False


def _is_range(node: Node) -> bool:
    is_interval = isinstance(node, Ordered) and node.delimiters in ("(]", "[)", "exclusion")
    return isinstance(node, Membership) or is_interval or (isinstance(node, Ordered) and _reaches_infinity(node))


def _reaches_infinity(node: Ordered) -> bool:
    return node.delimiters in INTERVALS and any(
        isinstance(item, Leaf) and "\\infty" in item.text for item in node.items
    )


def _combined(sets: list[RealSet | None], conjunction: str) -> RealSet | None:
    """Union for "or", intersection for "and"; a comma means "and" unless nothing would be left."""
    known = [part for part in sets if part is not None]
    if len(known) < len(sets):
        return None
    union = _normal([piece for part in known for piece in part])
    intersection = _complement(_normal([piece for part in known for piece in _complement(part)]))
    return union if conjunction == "or" or (conjunction == "," and not intersection) else intersection


def _difference(minuend: RealSet | None, subtrahend: RealSet | None) -> RealSet | None:
    if minuend is None or subtrahend is None:
        return None
    return _complement(_normal([*_complement(minuend), *subtrahend]))


def _normal(pieces: list[tuple[Cut, Cut]]) -> RealSet:
    merged: list[tuple[Cut, Cut]] = []
    for low, high in sorted(piece for piece in pieces if piece[0] < piece[1]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _complement(pieces: RealSet) -> RealSet:
    cuts = [_LEAST, *(cut for piece in pieces for cut in piece), _GREATEST]
    return _normal([(cuts[index], cuts[index + 1]) for index in range(0, len(cuts), 2)])
