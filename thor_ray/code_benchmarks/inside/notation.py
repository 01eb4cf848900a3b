"""Values as JSON: what goes between processes instead of objects.

Only plain values survive, as values of Python's own types. An object of any other class becomes its class's name, which
equals nothing, so that no ``__eq__`` of a program's own is ever called by whoever reads it.

===============================  ============================================================
value                            JSON
===============================  ============================================================
``None``, truth values, text     themselves
``int``                          itself; beyond 64 bits ``{"int": "-0x1f"}``
``float``                        itself, ``NaN`` and ``Infinity`` included
``list``                         a list
``tuple``, ``set``, ``frozenset``  ``{"tuple": [...]}`` and so on
``dict``                         ``{"dict": [[key, value], ...]}``
``complex``                      ``{"complex": [real, imaginary]}``
``bytes``, ``bytearray``         ``{"bytes": "0aff"}``
``Fraction``, ``Decimal``        ``{"fraction": ["0x1", "0x2"]}``, ``{"decimal": "0.5"}``
anything else                    ``{"object": "module.Class"}``
===============================  ============================================================

A value of a class derived from one of these is written as the nearest of them; NumPy's scalars as the Python number
that their ``item()`` gives, as ``==`` would see them.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

_JSON_INTEGER_BITS = 64
_ATOMS = (str, bool, int, float, complex, bytes, bytearray, Fraction, Decimal)


class Opaque:
    """An object of a class that has no notation. It equals nothing, not even itself.

    Attributes:
        name: Of its class.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.name}>"


def encode(value: Any) -> Any:
    """The JSON tree of a value.

    Raises:
        RecursionError: it is nested too deeply, or holds itself.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is int:
        return value if value.bit_length() <= _JSON_INTEGER_BITS else {"int": hex(value)}
    if kind is list:
        return [encode(each) for each in value]
    if kind is tuple:
        return {"tuple": [encode(each) for each in value]}
    return _encode_rare(value)


def _encode_rare(value: Any) -> Any:
    match value:
        case dict():
            return {"dict": [[encode(key), encode(each)] for key, each in value.items()]}
        case set() | frozenset():
            return {"set" if isinstance(value, set) else "frozenset": [encode(each) for each in value]}
        case list() | tuple():
            base = list if isinstance(value, list) else tuple
            return encode(base(value))
        case complex():
            return {"complex": [value.real, value.imag]}
        case bytes() | bytearray():
            return {"bytes": bytes(value).hex()}
        case Fraction():
            return {"fraction": [hex(value.numerator), hex(value.denominator)]}
        case Decimal():
            return {"decimal": str(value)}
        case int() | float() | str():
            base_type = next(base for base in (int, float, str) if isinstance(value, base))
            return encode(base_type(value))
    return encode(number) if (number := numpy_scalar(value)) is not None else {"object": _class_name(value)}


def decode(tree: Any) -> Any:
    """The value that a tree stands for.

    Raises:
        ValueError, TypeError: it is no notation of a value.
        RecursionError: it is nested too deeply.
    """
    if isinstance(tree, list):
        return [decode(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1:
        raise ValueError("one key expected")
    ((tag, content),) = tree.items()
    return _decode_tagged(tag, content)


def _decode_tagged(tag: str, content: Any) -> Any:
    match tag:
        case "tuple":
            return tuple([decode(each) for each in content])
        case "set":
            return {decode(each) for each in content}
        case "frozenset":
            return frozenset([decode(each) for each in content])
        case "dict":
            return {decode(key): decode(each) for key, each in content}
        case "int":
            return int(content, 16)
        case "complex":
            return complex(*content)
        case "bytes":
            return bytes.fromhex(content)
        case "fraction":
            return Fraction(*(int(part, 16) for part in content))
        case "decimal":
            return Decimal(content)
        case "object":
            return Opaque(str(content))
    raise ValueError(f"unknown tag {tag!r}")


def numpy_scalar(value: Any) -> Any:
    """The Python number behind a NumPy scalar; ``None`` for anything else."""
    if type(value).__module__ != "numpy" or getattr(value, "shape", None) != ():
        return None
    number = value.item()
    return number if isinstance(number, _ATOMS) else None


def _class_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
