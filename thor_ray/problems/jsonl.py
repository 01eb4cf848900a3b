"""Problem files: JSON Lines, one problem an object, checked whole before any work starts."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from thor_ray.problems.problem import Problem

_QUESTION_FIELDS = ("problem", "question")
_LEVEL_FIELDS = ("level", "difficulty")
_NAMED_LEVEL = re.compile(r"Level (\d+|\?)")
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MOST_ERRORS_SHOWN = 10


class ProblemFileError(ValueError):
    """A problem file that cannot be used; the message names file, line and fault."""


def load_problems(path: Path, *, limit: int | None = None, shuffle_seed: int | None = None) -> list[Problem]:
    """Read all problems of a file, or refuse the file.

    A line is an object with ``problem`` or ``question`` (text) and ``answer`` (text or number). Optional are ``id``
    (text, else ``<stem>-<line>``), ``level`` or ``difficulty`` (a number or ``"Level 3"``, rounded down), and
    ``solution`` (text). Other fields are ignored, and so are empty lines.

    Args:
        path: The file.
        limit: Keep this many problems at most, counted after shuffling.
        shuffle_seed: Shuffle with this seed; None keeps the file's order.

    Raises:
        ProblemFileError: The file is missing, empty or not UTF-8 text, or a line is not a problem; every line is
            checked, also those past ``limit``, and the message lists the first faults as ``file:line: fault``.
        ValueError: ``limit`` is less than 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, but is {limit}")
    problems: list[Problem] = []
    faults: list[str] = []
    first_line_of: dict[str, int] = {}
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            problem = parse_problem(line, default_id=f"{path.stem}-{number}", source=path.stem)
        except ProblemFileError as fault:
            faults.append(f"{path}:{number}: {fault}")
            continue
        earlier = first_line_of.setdefault(problem.id, number)
        if earlier != number:
            faults.append(f"{path}:{number}: id {problem.id!r} is already taken by line {earlier}")
        problems.append(problem)
    if faults:
        more = len(faults) - _MOST_ERRORS_SHOWN
        shown = faults[:_MOST_ERRORS_SHOWN] + ([f"... and {more} more faulty lines"] if more > 0 else [])
        raise ProblemFileError("\n".join(shown))
    if not problems:
        raise ProblemFileError(f"{path}: holds no problems")
    if shuffle_seed is not None:
        Random(shuffle_seed).shuffle(problems)
    return problems[:limit]


def parse_problem(line: str, *, default_id: str, source: str) -> Problem:
    """One line of a problem file.

    Raises:
        ProblemFileError: The line is not a problem; the message says what is wrong, without file and line.
    """
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except ProblemFileError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError also covers integers of more than 4300 digits
        raise ProblemFileError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ProblemFileError(f"not an object, but {_type_name(record)}")
    return Problem(
        id=_optional_text(record, "id") or default_id,
        question=_question(record),
        answer=_answer(record),
        source=source,
        level=_level(record),
        solution=_optional_text(record, "solution"),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ProblemFileError(f"{path}: no such problem file") from error
    except UnicodeDecodeError as error:
        raise ProblemFileError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise ProblemFileError(f"{path}: cannot be read ({error.strerror})") from error


def _question(record: Mapping[str, Any]) -> str:
    present = [name for name in _QUESTION_FIELDS if record.get(name) is not None]
    if not present:
        raise ProblemFileError("field 'problem' (or 'question') is missing")
    if len(present) > 1:
        raise ProblemFileError("has both 'problem' and 'question'; keep one")
    return _text(record, present[0])


def _answer(record: Mapping[str, Any]) -> str:
    answer = record.get("answer")
    if _is_number(answer):
        return str(answer)
    return _text(record, "answer", kind="text or a number")


def _optional_text(record: Mapping[str, Any], name: str) -> str | None:
    """A field's text; None where it is absent or null."""
    return None if record.get(name) is None else _text(record, name)


def _text(record: Mapping[str, Any], name: str, *, kind: str = "text") -> str:
    """The text of a field that must be there; ``kind`` tells the user what it may be."""
    value = record.get(name)
    if value is None:
        raise ProblemFileError(f"field {name!r} is missing")
    if not isinstance(value, str):
        raise ProblemFileError(f"field {name!r} must be {kind}, but is {_type_name(value)}")
    if not value.strip():
        raise ProblemFileError(f"field {name!r} is empty")
    if _LONE_SURROGATE.search(value):
        raise ProblemFileError(f"field {name!r} holds half a surrogate pair, which is not text")
    return value


def _level(record: Mapping[str, Any]) -> int | None:
    for name in _LEVEL_FIELDS:
        value = record.get(name)
        if value is None:
            continue
        if _is_number(value):
            return int(value)
        named = _NAMED_LEVEL.fullmatch(value) if isinstance(value, str) else None
        if named is None:
            raise ProblemFileError(f"field {name!r} must be a number or 'Level N', but is {value!r}")
        return None if named[1] == "?" else int(named[1])
    return None


def _is_number(value: object) -> bool:
    """Whether a JSON value is a finite number; ``1e999`` is read as infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse_constant(name: str) -> None:
    raise ProblemFileError(f"not JSON: {name} is not a number")


def _type_name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
