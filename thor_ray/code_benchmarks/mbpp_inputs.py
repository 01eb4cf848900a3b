"""Inputs of MBPP+ as its functions take them: JSON has no tuples, sets and complex numbers, so its file lost them.

Which task takes what is EvalPlus's knowledge (``mbpp_deserialize_inputs`` of evalplus/data/mbpp.py).
"""

from collections.abc import Callable
from typing import Any, Final

Arguments = list[Any]
Restore = Callable[[Arguments], Arguments]


def restore(number: int, arguments: Arguments) -> Arguments:
    """The arguments of one call of the task ``Mbpp/<number>``, as the file has them made into what they were."""
    return _RESTORERS.get(number, list)(arguments)


def _each_to_tuple(arguments: Arguments) -> Arguments:
    return [tuple(each) for each in arguments]


def _rows_to_tuples(arguments: Arguments) -> Arguments:
    return [[tuple(row) for row in each] for each in arguments]


def _rows_and_each_to_tuples(arguments: Arguments) -> Arguments:
    return _each_to_tuple(_rows_to_tuples(arguments))


def _rows_of_first_to_tuples(arguments: Arguments) -> Arguments:
    return [[tuple(row) for row in arguments[0]], arguments[1]]


def _first_to_tuple(arguments: Arguments) -> Arguments:
    return [tuple(arguments[0]), *arguments[1:]]


def _second_to_tuple(arguments: Arguments) -> Arguments:
    return [arguments[0], tuple(arguments[1])]


def _rows_of_first_to_sets(arguments: Arguments) -> Arguments:
    return [[set(row) if isinstance(row, list) and row else {} for row in arguments[0]]]


def _inner_lists_and_first_to_tuples(arguments: Arguments) -> Arguments:
    return [tuple(tuple(each) if isinstance(each, list) else each for each in arguments[0])]


def _values_to_tuples(arguments: Arguments) -> Arguments:
    return [{key: tuple(value) for key, value in arguments[0].items()}, *arguments[1:]]


def _float_and_complex(arguments: Arguments) -> Arguments:
    return [float(arguments[0]), complex(arguments[1])]


def _complex(arguments: Arguments) -> Arguments:
    return [complex(arguments[0])]


def _all_lists_to_tuples(arguments: Arguments) -> Arguments:
    return [_deep_tuple(each) for each in arguments]


def _deep_tuple(value: Any) -> Any:
    return tuple(map(_deep_tuple, value)) if isinstance(value, list) else value


_TASKS: Final[dict[Restore, tuple[int, ...]]] = {
    _each_to_tuple: (
        *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
    ),
    _rows_to_tuples: (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    _rows_and_each_to_tuples: (259, 401, 445),
    _rows_of_first_to_tuples: (75, 413, 444, 753),
    _first_to_tuple: (250, 307, 405, 446, 617, 720, 763, 808),
    _second_to_tuple: (106, 750),
    _rows_of_first_to_sets: (115,),
    _inner_lists_and_first_to_tuples: (278,),
    _values_to_tuples: (722,),
    _float_and_complex: (124,),
    _complex: (252,),
    _all_lists_to_tuples: (580, 615, 791),
}
_RESTORERS: Final = {number: restorer for restorer, numbers in _TASKS.items() for number in numbers}
