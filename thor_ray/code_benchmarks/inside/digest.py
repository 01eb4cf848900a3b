"""Large outputs as digests: a few programs of EvalPlus return hundreds of megabytes, which nobody needs to carry.

Values that are equal have the same digest, as ``1 == 1.0 == True`` and sets know no order. Values that differ have the
same digest only by chance. A program cannot use it to pretend: it would have to know the digest of the right output.
"""

from __future__ import annotations

import hashlib
import marshal
from itertools import chain
from typing import Any

from .notation import numpy_scalar

LARGE = 1000
"""Outputs of more parts (elements, characters, eight-bit pieces of large integers) than this are sent as digests."""

_SLICE = 1024
_FORMAT = 0
"""Later formats of ``marshal`` depend on how often an object is referred to, and on whether text is interned."""
_SMALL_INTEGER_BITS = 1024
"""Beyond this no float is equal to an integer, so that equal numbers have the same weight."""
_ATOMS = {int, str, type(None), bytes}
_SEQUENCES = {list, tuple}
_BASES: tuple[type[Any], ...] = (int, float, str, bytes, list, tuple)


def is_large(value: Any) -> bool:
    """Whether a value has more than ``LARGE`` parts; equal values are large or not alike."""
    return _left(value, LARGE) < 0


def digest(value: Any) -> str:
    """Hexadecimal digest of a value of plain types."""
    if not isinstance(value, list | tuple):
        return hashlib.sha256(marshal.dumps(_normal(value), _FORMAT)).hexdigest()
    state = hashlib.sha256(b"list" if isinstance(value, list) else b"tuple")
    for start in range(0, len(value), _SLICE):
        part = list(value[start : start + _SLICE])
        state.update(marshal.dumps(part if _is_normal(part) else [_normal(each) for each in part], _FORMAT))
    return state.hexdigest()


def _left(value: Any, budget: int) -> int:
    """What a value leaves of a number of parts; anything below 0 is too much."""
    budget -= 1
    if isinstance(value, int):
        bits = value.bit_length()
        return budget if bits <= _SMALL_INTEGER_BITS else budget - bits // 8
    if isinstance(value, str | bytes):
        return budget - len(value)
    if isinstance(value, dict):
        value = chain.from_iterable(value.items())
    elif not isinstance(value, list | tuple | set | frozenset):
        return budget
    for each in value:
        budget = _left(each, budget)
        if budget < 0:
            break
    return budget


def _is_normal(part: list[Any]) -> bool:
    """Whether ``_normal`` would change nothing: asked level by level, at the speed of C."""
    level = part
    while True:
        kinds = set(map(type, level))
        if kinds <= _ATOMS:
            return True
        if not kinds <= _SEQUENCES:
            return False
        level = list(chain.from_iterable(level))


def _normal(value: Any) -> Any:
    """A value that ``marshal`` writes the same way for all that are equal to it."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is bool:
        return int(value)
    if kind is tuple:
        return tuple([_normal(each) for each in value])
    if kind is list:
        return [_normal(each) for each in value]
    if kind is float:
        return int(value) if value.is_integer() else value
    return _rare_normal(value)


def _rare_normal(value: Any) -> Any:
    match value:
        case complex():
            return _normal(value.real) if value.imag == 0 else complex(value)
        case set() | frozenset():
            return (b"set", *sorted(marshal.dumps(_normal(each), _FORMAT) for each in value))
        case dict():
            pairs = ((_normal(key), _normal(each)) for key, each in value.items())
            return (b"dict", *sorted(marshal.dumps(pair, _FORMAT) for pair in pairs))
    for base in _BASES:
        if isinstance(value, base):
            return _normal(base(value))
    if (number := numpy_scalar(value)) is not None:
        return _normal(number)
    raise TypeError(f"no digest of {type(value).__name__}")
