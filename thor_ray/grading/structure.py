r"""The shape of an answer: one value, a list, a set, a tuple or interval, a matrix, an equation.

Shapes are compared by us, values by arithmetic or algebra. That is what keeps guessing out: two candidates in
one box are a list and never equal one value, and brackets, order and number of elements are seen by construction.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from thor_ray.grading.normalisation import fingerprint, group_end


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
    """

    kind: str
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    r"""Elements whose order counts.

    Attributes:
        delimiters: ``()``, ``(]``, ``[)``, ``[]`` for tuples and intervals; ``matrix 2x3``, ``ratio`` (also a time of
            day) and ``exclusion`` (``x \ne 1``).
        items: The elements, matrices row by row.
    """

    delimiters: str
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """``name = side = side`` or an equation proper.

    Attributes:
        name: Fingerprint of a left side that only names the result (``x``, ``f(x)``, ``AB``); ``None`` if there is none.
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


Node = Leaf | Unordered | Ordered | Equation | Membership

_CONNECTIVE = re.compile(r",?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\{])(?:and|or)(?![a-zA-Z}]))\s*,?")
_THOUSANDS = re.compile(r"^(?:[^=,;]*=)?\s*[+-]?(?:\\dollar\s*)?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?![\d,])[^,;]*$")
_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon"
    "|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Upsilon|Phi|Psi|Omega|ell"
)
_SYMBOL = rf"(?:[a-zA-Z]|\\(?:{_GREEK}))(?:_(?:\w|\{{[^{{}}]*\}}))?'*"
_NAME = re.compile(
    rf"^(?:{_SYMBOL}(?:\([^()]*\))?|[A-Z]{{1,4}}|\\angle ?[A-Z]{{1,3}}|\\text\{{[^{{}}]*\}}|\({_SYMBOL}(?:,{_SYMBOL})*\))$"
)
_VARIABLE = re.compile(rf"^{_SYMBOL}$")
_CONSTANTS = ("e", "i")
_EQUALS = re.compile(r"(?<![<>!:\\])=")
_INEQUALITY = re.compile(r"(\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|<|>)")
_CUP = re.compile(r"\\cup(?![a-zA-Z])")
_NOT_EQUAL = re.compile(r"\\ne(?![a-zA-Z])")
_ENVIRONMENT = re.compile(r"^\\begin\{([a-zA-Z]*matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}$")
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z])")
_MINUS_PLUS = re.compile(r"\\mp(?![a-zA-Z])")


@lru_cache(maxsize=8192)
def read(text: str) -> Node:
    """Reads the shape of a normalised answer. Never fails: what has no other shape is a ``Leaf``."""
    if _THOUSANDS.match(text) and not _CONNECTIVE.search(text):
        return _read_single(text)
    return read_list(text)


@lru_cache(maxsize=8192)
def read_list(text: str) -> Node:
    """Like ``read``, but a comma always separates elements (``100,200`` is two numbers)."""
    if not text.startswith("\\text{") or "}" not in text or group_end(text, 5) != len(text) - 1:
        text = _CONNECTIVE.sub(",", text).strip(", ") if "and" in text or "or" in text else text
    pieces = _split_top_level(text, ",;")
    if len(pieces) > 1:
        return Unordered("list", _flattened(read_list(piece) for piece in pieces))
    return _read_single(text)


def _read_single(text: str) -> Node:
    if "=" in text and (equation := _read_equation(text)):
        return equation
    if "\\in" in text and (membership := _read_membership(text)):
        return membership
    if ("<" in text or ">" in text or "\\le" in text or "\\ge" in text) and (interval := _read_inequality(text)):
        return interval
    if "\\ne" in text and len(parts := _split_pattern(text, _NOT_EQUAL)) == 2:
        return Ordered("exclusion", (Leaf(parts[0]), read_list(parts[1])))
    if ":" in text and len(parts := _split_top_level(text, ":")) > 1 and all(parts):
        return Ordered("ratio", tuple(_read_single(part) for part in parts))
    if "\\cup" in text:
        parts = _split_pattern(text, _CUP)
        if len(parts) > 1 and all(parts):
            return Unordered("union", tuple(read_list(part) for part in parts))
    if "\\begin" in text and (matrix := _read_matrix(text)):
        return matrix
    if enclosed := _read_enclosed(text):
        return enclosed
    if _PLUS_MINUS.search(text):
        plus = _MINUS_PLUS.sub("-", _PLUS_MINUS.sub("+", text))
        minus = _MINUS_PLUS.sub("+", _PLUS_MINUS.sub("-", text))
        return Unordered("list", (read_list(plus.strip("+ ")), read_list(minus)))
    return Leaf(text)


def _read_enclosed(text: str) -> Node | None:
    if text.startswith("\\{") and text.endswith("\\}") and group_end(text, 1) == len(text) - 1:
        inner = text[2:-2]
        if re.search(r"\\mid|[|:]", inner):
            return None  # set-builder notation is compared whole
        pieces = _split_top_level(inner, ",;")
        return Unordered("set", _flattened(read_list(piece) for piece in pieces if piece))
    if text[:1] not in ("(", "[") or group_end(text, 0) != len(text) - 1 or text[-1] not in ")]":
        return None
    pieces = _split_top_level(text[1:-1], ",;")
    if len(pieces) == 1 and text[0] == "(" and text[-1] == ")":
        return read_list(pieces[0])  # (5) is 5 and (C) is C
    return Ordered(text[0] + text[-1], tuple(read_list(piece) for piece in pieces))


def _read_equation(text: str) -> Equation | None:
    sides = [side.strip() for side in _split_pattern(text, _EQUALS)]
    if len(sides) < 2 or not all(sides):
        return None
    is_named = bool(_NAME.match(fingerprint(sides[0]))) and fingerprint(sides[0]) not in _CONSTANTS
    name = fingerprint(sides[0]) if is_named else None
    return Equation(name, tuple(read(side) for side in (sides[1:] if is_named else sides)), text)


def _read_membership(text: str) -> Membership | None:
    match = re.match(rf"^({_SYMBOL})\s*\\in(?![a-zA-Z])\s*(.+)$", text)
    return Membership(fingerprint(match.group(1)), read_list(match.group(2))) if match else None


def _read_inequality(text: str) -> Membership | None:
    r"""Reads ``a \le x < b``, ``x < b``, ``a < x`` and their mirror images as an interval."""
    parts = [part.strip() for part in _INEQUALITY.split(text)]
    values, operators = parts[::2], parts[1::2]
    if len(values) not in (2, 3) or not all(values):
        return None
    if operators[0] in (">", "\\ge"):
        values, operators = values[::-1], [{">": "<", "\\ge": "\\le"}.get(operator, "") for operator in operators[::-1]]
    if any(operator not in ("<", "\\le") for operator in operators):
        return None
    is_variable = [bool(_VARIABLE.match(fingerprint(value))) and value not in _CONSTANTS for value in values]
    if is_variable.count(True) != 1 or (len(values) == 3 and not is_variable[1]):
        return None
    position = is_variable.index(True)
    low = read_list(values[position - 1]) if position > 0 else Leaf("-\\infty")
    high = read_list(values[position + 1]) if position + 1 < len(values) else Leaf("\\infty")
    opening = "[" if position > 0 and operators[position - 1] == "\\le" else "("
    closing = "]" if position + 1 < len(values) and operators[position] == "\\le" else ")"
    return Membership(fingerprint(values[position]), Ordered(opening + closing, (low, high)))


def _read_matrix(text: str) -> Ordered | None:
    match = _ENVIRONMENT.match(text)
    if not match or "\\begin" in match.group(2) or match.group(1) in ("vmatrix", "Vmatrix"):
        return None
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", match.group(2)) if row.strip()]
    cells = [[read_list(cell.strip()) for cell in row.split("&")] for row in rows]
    if not cells or len({len(row) for row in cells}) != 1:
        return None
    return Ordered(f"matrix {len(cells)}x{len(cells[0])}", tuple(cell for row in cells for cell in row))


def _flattened(items: Iterable[Node]) -> tuple[Node, ...]:
    r"""Elements with nested lists dissolved: ``1 \pm 2, 5`` has three."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Unordered) and item.kind == "list" else [item])
    return tuple(flat)


def _split_top_level(text: str, separators: str) -> list[str]:
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


def _split_pattern(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Splits at matches of ``pattern`` outside all brackets."""
    return _split_top_level(pattern.sub("\x00", text), "\x00")
