r"""The shapes that an answer can have: one value, a list, a set, a tuple or interval, a matrix, an equation, a range.

Shapes are compared by us, values by arithmetic or algebra. That is what keeps guessing out: two candidates in one box
are a list and never equal one value, and brackets, order and number of elements are seen by construction.
"""

import re
from dataclasses import dataclass

INTERVALS = ("()", "[]", "(]", "[)")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value, as normalised text."""

    text: str


@dataclass(frozen=True, slots=True)
class Unordered:
    r"""Elements whose order means nothing.

    Attributes:
        kind: ``list`` (``1, 2``; also ``1 \pm 2`` and ``1 or 2``), ``set`` (braces) or ``union``.
        items: The elements.
        conjunction: What joins the elements of a list: ``,``, ``and`` or ``or``; conditions depend on it.
    """

    kind: str
    items: tuple["Node", ...]
    conjunction: str = ","


@dataclass(frozen=True, slots=True)
class Ordered:
    r"""Elements whose order counts.

    Attributes:
        delimiters: ``()``, ``(]``, ``[)``, ``[]`` for tuples and intervals; ``matrix 2x3``, ``ratio`` (also a time of
            day) and ``exclusion`` (``x \ne 1``).
        items: The elements, matrices row by row.
        text: The whole answer, which algebra may need.
    """

    delimiters: str
    items: tuple["Node", ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Equation:
    """``name = side = side`` or an equation proper.

    Attributes:
        name: A left side that only names the result (``x``, ``f(x)``, ``AB``); ``None`` if there is none.
        sides: All other sides, in order.
        text: The whole equation.
    """

    name: str | None
    sides: tuple["Node", ...]
    text: str


@dataclass(frozen=True, slots=True)
class Membership:
    """A variable and the interval or set that it lies in; inequalities in one variable are read as this."""

    variable: str
    domain: "Node"


@dataclass(frozen=True, slots=True)
class Difference:
    r"""``minuend \setminus subtrahend``."""

    minuend: "Node"
    subtrahend: "Node"


@dataclass(frozen=True, slots=True)
class Approximation:
    r"""``exact \approx decimal``.

    Attributes:
        exact: What stands before the sign.
        decimals: What stands behind it, as normalised texts.
    """

    exact: "Node"
    decimals: tuple[str, ...]


Node = Leaf | Unordered | Ordered | Equation | Membership | Difference | Approximation

REALS = Ordered("()", (Leaf("-\\infty"), Leaf("\\infty")))


def describe(node: Node) -> str:
    """What a node is, in the words of a verdict's reason."""
    match node:
        case Leaf():
            return "one value"
        case Unordered(kind=kind):
            return f"a {kind}"
        case Ordered(delimiters=delimiters):
            return f"a tuple or interval {delimiters}" if delimiters in INTERVALS else f"a {delimiters}"
        case Equation():
            return "an equation"
        case Membership():
            return "a range"
        case Difference():
            return "a difference of sets"
        case Approximation():
            return "an approximation"


def split_top_level(text: str, separators: str) -> list[str]:
    """Splits at separators outside all brackets and environments; pieces are stripped, a trailing empty one dropped."""
    pieces: list[str] = []
    depth = start = 0
    position = 0
    while position < len(text):
        character = text[position]
        if text.startswith("\\begin", position):
            depth += 1
        elif text.startswith("\\end", position):
            depth -= 1
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character in separators and depth == 0:
            pieces.append(text[start:position].strip())
            start = position + 1
        position += 1
    last = text[start:].strip()
    return [*pieces, last] if last or not pieces else pieces


def split_pattern(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Splits at matches of ``pattern`` outside all brackets."""
    return split_top_level(pattern.sub("\x00", text), "\x00")
