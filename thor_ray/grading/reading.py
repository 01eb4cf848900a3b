r"""From normalised text to the shape of an answer; see ``structure``."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product

from thor_ray.grading.labels import name_of, variable_of
from thor_ray.grading.normalisation import fingerprint, group_end
from thor_ray.grading.structure import (
    REALS,
    Approximation,
    Difference,
    Equation,
    Leaf,
    Membership,
    Node,
    Ordered,
    Unordered,
    split_pattern,
    split_top_level,
)

_CONNECTIVE = re.compile(r",?\s*(?:\\text\{\s*,?\s*(and|or)\s*\}|(?<![a-zA-Z\\{])(and|or)(?![a-zA-Z}]))\s*,?")
_THOUSANDS = re.compile(r"^(?:[^=,;]*=)?\s*[+-]?(?:\\dollar\s*)?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?![\d,])[^,;]*$")
_EQUALS = re.compile(r"(?<![<>!:\\])=")
_INEQUALITY = re.compile(r"(\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|<|>)")
_APPROXIMATELY = re.compile(r"\\approx(?![a-zA-Z])|\\simeq(?![a-zA-Z])")
_CUP = re.compile(r"\\cup(?![a-zA-Z])")
_NOT_EQUAL = re.compile(r"\\ne(?![a-zA-Z])")
_WITHOUT = re.compile(r"\\(?:setminus|backslash)(?![a-zA-Z])")
_REALS = re.compile(r"^\\mathbb\{R\}$")
_REALS_WITHOUT = re.compile(r"^\\mathbb\{R\}\s*[-/]\s*(\\\{.*|[\[(].*)$")
_ENVIRONMENT = re.compile(r"^\\begin\{([a-zA-Z]*matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}$")
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z])")
_MINUS_PLUS = re.compile(r"\\mp(?![a-zA-Z])")
_MOST_CHOICES_OF_SIGN = 3
_SUCH_THAT = re.compile(r"^(.*?)(?<!\\left)\s*[:|]\s*(.*)$")
_ABSOLUTE = re.compile(r"^\|(.+)\|$")
_MIRRORED = {">": "<", "\\ge": "\\le"}


@lru_cache(maxsize=8192)
def read(text: str) -> Node:
    """Reads the shape of a normalised answer. Never fails: what has no other shape is a ``Leaf``."""
    if _THOUSANDS.match(text) and not _CONNECTIVE.search(text):
        return _read_single(text)
    return read_list(text)


@lru_cache(maxsize=8192)
def read_list(text: str) -> Node:
    """Like ``read``, but a comma always separates elements (``100,200`` is two numbers)."""
    if _is_one_phrase(text):
        return _read_phrase(text)
    conjunctions: set[str] = set()
    if "and" in text or "or" in text:
        conjunctions = {match.group(1) or match.group(2) for match in _CONNECTIVE.finditer(text)}
        text = _CONNECTIVE.sub(",", text).strip(", ")
    pieces = split_top_level(text, ",;")
    if len(pieces) < 2:
        return _read_single(pieces[0] or text)
    conjunction = "or" if "or" in conjunctions else "and" if "and" in conjunctions else ","
    items = [read_list(piece) for piece in pieces]
    if special := _with_all_exclusions(items) or _grouped_by_name(items):
        return special
    return Unordered("list", _flattened(items), conjunction)


def _is_one_phrase(text: str) -> bool:
    return text.startswith("\\text{") and group_end(text, 5) == len(text) - 1


def _read_phrase(text: str) -> Node:
    r"""``\text{Alice and Bob}`` is a list of names; other phrases are one value."""
    words = text[len("\\text{") : -1]
    pieces = [piece.strip() for piece in re.split(r",\s*(?:and|or)\s|,|\band\b|\bor\b", words)]
    if len(pieces) < 2 or not all(pieces):
        return Leaf(text)
    conjunction = "or" if re.search(r"\bor\b", words) else "and"
    return Unordered("list", tuple(Leaf(f"\\text{{{piece}}}") for piece in pieces), conjunction)


def _grouped_by_name(items: list[Node]) -> Node | None:
    """``p=5, q=2; p=7, q=2``: tuples whose elements carry names, one after the other."""
    equations = [item for item in items if isinstance(item, Equation) and item.name is not None]
    names = [equation.name for equation in equations]
    size = len(set(names))
    if len(names) != len(items) or size < 2 or len(names) < 2 * size or names != names[:size] * (len(names) // size):
        return None
    values = [equation.sides[-1] for equation in equations]
    tuples = (Ordered("()", tuple(values[start : start + size])) for start in range(0, len(values), size))
    return Unordered("list", tuple(tuples))


def _with_all_exclusions(items: list[Node]) -> Node | None:
    r"""``x \ne 1, 2`` and ``x \ne 1, x \ne 2`` exclude two values."""
    first = items[0]
    if not isinstance(first, Ordered) or first.delimiters != "exclusion":
        return None
    excluded = [first.items[1]]
    for item in items[1:]:
        if isinstance(item, Ordered) and item.delimiters == "exclusion" and item.items[0] == first.items[0]:
            excluded.append(item.items[1])
        elif isinstance(item, Leaf):
            excluded.append(item)
        else:
            return None
    return Ordered("exclusion", (first.items[0], Unordered("list", _flattened(excluded))))


def _read_single(text: str) -> Node:
    if "\\approx" in text or "\\simeq" in text:
        return _read_approximation(text)
    for marks, reader in _READERS:
        if any(mark in text for mark in marks) and (node := reader(text)) is not None:
            return node
    return Leaf(text)


def _read_approximation(text: str) -> Node:
    exact, *decimals = split_pattern(text, _APPROXIMATELY)
    if not exact and len(decimals) == 1 and decimals[0]:
        return read(decimals[0])  # what is approximated has been left out
    if not exact or not all(decimals) or not decimals:
        return Leaf(text)
    if name_of(exact) is not None and len(decimals) == 1:
        return Equation(name_of(exact), (read(decimals[0]),), text)
    return Approximation(read(exact), tuple(decimals))


def _read_equation(text: str) -> Node | None:
    sides = [side.strip() for side in split_pattern(text, _EQUALS)]
    if len(sides) < 2 or not all(sides):
        return None
    name = name_of(sides[0])
    if name is None and name_of(sides[-1]) and len(sides) == 2:  # 5 = x
        sides.reverse()
        name = name_of(sides[0])
    return Equation(name, tuple(read(side) for side in (sides[1:] if name else sides)), text)


def _read_membership(text: str) -> Node | None:
    variable, operator, domain = text.partition("\\in")
    if not operator or domain[:1].isalpha():
        return None
    name = variable_of(variable)
    return Membership(name, read_list(domain.strip())) if name else None


def _read_inequality(text: str) -> Node | None:
    r"""Reads ``a \le x < b``, ``x < b``, ``a < x``, ``|x-a| < b`` and their mirror images as ranges."""
    parts = [part.strip() for part in _INEQUALITY.split(text)]
    values, operators = parts[::2], parts[1::2]
    if len(values) not in (2, 3) or not all(values) or len(split_pattern(text, _INEQUALITY)) != len(values):
        return None
    if operators[0] in _MIRRORED:
        values, operators = values[::-1], [_MIRRORED.get(operator, "") for operator in operators[::-1]]
    if any(operator not in ("<", "\\le") for operator in operators):
        return None
    if any(value.startswith("-") and variable_of(value[1:]) for value in values):  # -x > -1
        values = [value[1:].strip() if variable_of(value[1:]) else f"-({value})" for value in reversed(values)]
        operators = operators[::-1]
    variables = [variable_of(value) for value in values]
    if variables.count(None) == len(values):
        return _read_distance(values, operators)
    if variables.count(None) != len(values) - 1 or (len(values) == 3 and not variables[1]):
        return None
    position = next(index for index, variable in enumerate(variables) if variable)
    low = read_list(values[position - 1]) if position > 0 else Leaf("-\\infty")
    high = read_list(values[position + 1]) if position + 1 < len(values) else Leaf("\\infty")
    opening = "[" if position > 0 and operators[position - 1] == "\\le" else "("
    closing = "]" if position + 1 < len(values) and operators[position] == "\\le" else ")"
    return Membership(variables[position] or "", Ordered(opening + closing, (low, high)))


def _read_distance(values: list[str], operators: list[str]) -> Node | None:
    r"""``|x - a| < b`` is an interval, ``b < |x - a|`` what lies outside of one, ``b < |x - a| < c`` two intervals."""
    position = next((index for index, value in enumerate(values) if _ABSOLUTE.match(value)), None)
    if position is None or (len(values) == 3 and position != 1):
        return None
    inner = values[position][1:-1].strip()
    name, sign, centre = next(((v, s, c) for s in "-+" for v, t, c in [inner.partition(s)] if t), (inner, "-", "0"))
    variable = variable_of(name)
    if variable is None or "|" in inner or not re.match(r"^[^-+]+$", centre):
        return None
    centre = centre if sign == "-" else f"-({centre})"
    closed = [operator == "\\le" for operator in operators]
    if position == 0:
        return Membership(variable, _around(centre, values[1], closed[0]))
    inside = _around(centre, values[0], not closed[0])
    outside = _around(centre, values[2], closed[1]) if len(values) == 3 else REALS
    return Membership(variable, Difference(outside, inside))


def _around(centre: str, distance: str, is_closed: bool) -> Ordered:
    """The interval of this half-length around a centre."""
    return Ordered("[]" if is_closed else "()", (Leaf(f"{centre}-({distance})"), Leaf(f"{centre}+{distance}")))


def _read_exclusion(text: str) -> Node | None:
    parts = split_pattern(text, _NOT_EQUAL)
    return Ordered("exclusion", (Leaf(fingerprint(parts[0])), read_list(parts[1]))) if len(parts) == 2 else None


def _read_ratio(text: str) -> Node | None:
    parts = split_top_level(text, ":")
    return Ordered("ratio", tuple(_read_single(part) for part in parts)) if len(parts) > 1 and all(parts) else None


def _read_union(text: str) -> Node | None:
    parts = split_pattern(text, _CUP)
    return Unordered("union", tuple(read_list(part) for part in parts)) if len(parts) > 1 and all(parts) else None


def _read_difference(text: str) -> Node | None:
    parts = split_pattern(text, _WITHOUT)
    if len(parts) == 2 and all(parts):
        return Difference(read_list(parts[0]), read_list(parts[1]))
    match = _REALS_WITHOUT.match(text)
    return Difference(REALS, read_list(match.group(1))) if match else None


def _read_reals(text: str) -> Node | None:
    return REALS if _REALS.match(text) else None


def _read_matrix(text: str) -> Node | None:
    bare = text
    while bare[:1] in ("(", "[") and group_end(bare, 0) == len(bare) - 1:
        bare = bare[1:-1].strip()
    match = _ENVIRONMENT.match(bare)
    if not match or "\\begin" in match.group(2) or match.group(1) in ("vmatrix", "Vmatrix"):
        return None
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", match.group(2)) if row.strip(" \\")]
    cells = [[read_list(cell.strip()) for cell in row.split("&")] for row in rows]
    if not cells or len({len(row) for row in cells}) != 1:
        return None
    shape = f"matrix {len(cells)}x{len(cells[0])}"
    return Ordered(shape, tuple(cell for row in cells for cell in row), bare)


def _read_braces(text: str) -> Node | None:
    r"""``\{1, 2\}``, and also ``{1, 2}``, whose braces LaTeX would not print."""
    if text.startswith("\\{") and text.endswith("\\}") and group_end(text, 1) == len(text) - 1:
        inner = text[2:-2].strip()
        if re.search(r"[|:]", inner):
            return _read_conditions(inner)
        return Unordered("set", _flattened(read_list(piece) for piece in split_top_level(inner, ",;") if piece))
    if text.startswith("{") and text.endswith("}") and group_end(text, 0) == len(text) - 1:
        pieces = split_top_level(text[1:-1], ",;")
        return Unordered("set", _flattened(map(read_list, pieces))) if len(pieces) > 1 else _read_single(pieces[0])
    return None


def _read_conditions(inner: str) -> Node | None:
    r"""``x \in \mathbb{R} : x > 1``: a set given by a condition on its elements, if that can be read as a range."""
    match = _SUCH_THAT.match(inner)
    element = match and variable_of(re.sub(r"\\in\s*\\mathbb\{R\}$", "", match.group(1).strip()).strip())
    if not match or not element:
        return None
    condition = read_list(match.group(2))
    items = condition.items if isinstance(condition, Unordered) else (condition,)
    is_range = all(
        (isinstance(item, Membership) and item.variable == element)
        or (isinstance(item, Ordered) and item.delimiters == "exclusion")
        for item in items
    )
    return condition if is_range else None


def _read_brackets(text: str) -> Node | None:
    if text[:1] not in ("(", "[") or group_end(text, 0) != len(text) - 1 or text[-1] not in ")]":
        return None
    inner = text[1:-1].strip()
    pieces = split_top_level(inner, ",;")
    is_round = text[0] == "(" and text[-1] == ")"
    if len(pieces) == 1 and is_round and not inner.endswith((",", ";")):
        return read_list(pieces[0])  # (5) is 5 and (C) is C
    return Ordered(text[0] + text[-1], tuple(read_list(piece) for piece in pieces), text)


def _read_choices_of_sign(text: str) -> Node | None:
    r"""``1 \pm 2`` is a list of two, ``\pm 1 \pm 2`` one of four; ``\pm`` with ``\mp`` go together."""
    count = len(_PLUS_MINUS.findall(text))
    if not count or count > _MOST_CHOICES_OF_SIGN:
        return None
    choices = [("+",) * count, ("-",) * count] if _MINUS_PLUS.search(text) else list(product("+-", repeat=count))
    items = []
    for signs in choices:
        remaining = iter(signs)
        chosen = _PLUS_MINUS.sub(lambda _, remaining=remaining: next(remaining), text)  # type: ignore[misc]
        chosen = _MINUS_PLUS.sub("-" if signs[0] == "+" else "+", chosen)
        items.append(read_list(re.sub(r"(^|[(,\[])\s*\+\s*", r"\1", chosen.strip())))
    return Unordered("list", _flattened(items))


_READERS = (
    (("=",), _read_equation),
    (("\\in",), _read_membership),
    (("<", ">", "\\le", "\\ge"), _read_inequality),
    (("\\ne",), _read_exclusion),
    ((":",), _read_ratio),
    (("\\cup",), _read_union),
    (("\\setminus", "\\backslash", "\\mathbb"), _read_difference),
    (("\\mathbb",), _read_reals),
    (("\\begin",), _read_matrix),
    (("{",), _read_braces),
    (("\\pm",), _read_choices_of_sign),
    (("(", "["), _read_brackets),
)


def _flattened(items: Iterable[Node]) -> tuple[Node, ...]:
    r"""Elements with nested lists dissolved: ``1 \pm 2, 5`` has three."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Unordered) and item.kind == "list" else [item])
    return tuple(flat)
