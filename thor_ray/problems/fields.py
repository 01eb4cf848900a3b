r"""From a row of a data set to a problem: the fields that real data sets use, each by name.

=========  =========================================================================================================
what       fields, and what they may hold
=========  =========================================================================================================
question   ``problem``, ``question``: text; ``prompt``: text, or a list of messages of which one is the user's (verl).
           A system message is left out, since the policy's own template takes its place.
answer     ``answer``: text or a number, GSM8K's ``reasoning #### 72`` included; ``final_answer``: text, a number, or a
           list of all answers (OlympiadBench); ``ground_truth``, ``reward_model.ground_truth`` (verl): text, a number,
           or a list of one. Where there is none of these: the last ``\boxed{...}`` of ``solution`` (MATH).
id         ``id``, ``unique_id``: text or a whole number; else the caller's default.
level      ``level``, ``difficulty``: a number, rounded down, or ``Level 3``; other words are no level.
solution   ``solution``: text, or a list of which the first is taken; or GSM8K's reasoning.
subject    ``subject``, ``subfield``, ``type``: text.
=========  =========================================================================================================

Other fields are ignored. Nothing is guessed: fields that could be the question or the answer and differ are refused,
unless ``FieldNames`` says which one counts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from thor_ray.problems import gold
from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.problem import Problem

Record = Mapping[str, Any]
"""One row: field names and plain values (text, numbers, lists, objects, ``None``)."""

QUESTION_FIELDS: Final = ("problem", "question", "prompt")
ANSWER_FIELDS: Final = ("answer", "final_answer", "ground_truth", "reward_model.ground_truth")
ID_FIELDS: Final = ("id", "unique_id")
LEVEL_FIELDS: Final = ("level", "difficulty")
SUBJECT_FIELDS: Final = ("subject", "subfield", "type")
SOLUTION_FIELD: Final = "solution"

_ALL_ANSWERS_FIELD: Final = "final_answer"
_NAMED_LEVEL: Final = re.compile(r"(?:Level )?(\d+)(?:\.\d+)?")
_LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_MOST_TEXT_SHOWN: Final = 60
_ROLES: Final = ("system", "user")


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Which fields hold question and answer, where the table above does not say; a dot leads into an object.

    Attributes:
        question: Read like ``prompt``; ``None`` looks the field up.
        answer: Read like ``final_answer``; ``None`` looks the field up.
    """

    question: str | None = None
    answer: str | None = None


LOOKED_UP: Final = FieldNames()


def problem_from_record(record: Record, *, default_id: str, source: str, names: FieldNames = LOOKED_UP) -> Problem:
    """The problem that a row holds.

    Args:
        record: The row.
        default_id: For rows without an id.
        source: ``Problem.source``.
        names: Fields that the user has named.

    Raises:
        ProblemFileError: the row is no problem, or not clearly one; the message names the fields, not file and row.
    """
    return Problem(
        id=_id(record) or default_id,
        question=_question(record, names.question),
        answer=_answer(record, names.answer),
        source=source,
        level=_level(record),
        solution=_solution(record),
        subject=next((text for name in SUBJECT_FIELDS if (text := _label(record.get(name)))), None),
    )


def _question(record: Record, named: str | None) -> str:
    names = QUESTION_FIELDS if named is None else (named,)
    found = {name: _asked(value, name) for name in names if (value := _value(record, name)) is not None}
    return _the_one(found, names, "question", record)


def _asked(value: object, name: str) -> str:
    if isinstance(value, list) and name not in QUESTION_FIELDS[:2]:
        return _user_message(value, name)
    return _text(value, name)


def _user_message(messages: list[Any], name: str) -> str:
    """The only message of the user in a list of ``{"role": ..., "content": ...}``."""
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if any(role not in _ROLES for role in roles) or roles.count("user") != 1:
        raise ProblemFileError(
            f"field {name!r} must be one message of the user, after a system message at most, "
            f"but its messages are of {', '.join(map(repr, roles)) or 'nobody'}"
        )
    return _text(messages[roles.index("user")].get("content"), f"{name}.content")


def _answer(record: Record, named: str | None) -> str:
    names = ANSWER_FIELDS if named is None else (named,)
    found = {name: _gold(value, name) for name in names if (value := _value(record, name)) is not None}
    solution = record.get(SOLUTION_FIELD)
    if not found and named is None and solution is not None:
        boxed = gold.boxed_answer(_first_text(solution, SOLUTION_FIELD))
        if boxed is None:
            raise ProblemFileError(
                f"{_missing('answer', names, record)}; field {SOLUTION_FIELD!r} holds no \\boxed{{...}} that would give it"
            )
        return boxed
    return _the_one(found, names, "answer", record)


def _gold(value: object, name: str) -> str:
    if isinstance(value, list) and name != ANSWER_FIELDS[0]:
        if not value or (len(value) > 1 and name in ANSWER_FIELDS and name != _ALL_ANSWERS_FIELD):
            raise ProblemFileError(f"field {name!r} must hold one answer, but is a list of {len(value)}")
        return ", ".join(_gold(each, f"{name}[{index}]") for index, each in enumerate(value))
    if isinstance(value, int | float) and gold.is_number(value):
        return gold.number_answer(value)
    text = _text(value, name, kind="text or a number")
    marked = gold.marked_answer(text)
    answer = gold.bare_answer(text) if marked is None else marked
    if not answer:
        raise ProblemFileError(f"field {name!r} holds no answer: {_shown(text)}")
    return answer


def _the_one(found: Mapping[str, str], names: tuple[str, ...], what: str, record: Record) -> str:
    """The text that all fields agree on."""
    if not found:
        raise ProblemFileError(_missing(what, names, record))
    if len(set(found.values())) > 1:
        said = ", ".join(f"{name!r} says {_shown(text)}" for name, text in found.items())
        raise ProblemFileError(
            f"it is not clear which field is the {what}: {said}; keep one, or name it ({what}_field)"
        )
    return next(iter(found.values()))


def _missing(what: str, names: tuple[str, ...], record: Record) -> str:
    looked = " or ".join(map(repr, names))
    return f"field {looked} is missing, so there is no {what}; fields seen: {', '.join(map(repr, record)) or 'none'}"


def _value(record: Record, path: str) -> Any:
    """What lies at a dotted path, ``None`` where it leads nowhere."""
    if path in record:
        return record[path]
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _id(record: Record) -> str | None:
    for name in ID_FIELDS:
        value = record.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None:
            return _text(value, name, kind="text or a whole number")
    return None


def _solution(record: Record) -> str | None:
    value = record.get(SOLUTION_FIELD)
    if value not in (None, []):
        return _first_text(value, SOLUTION_FIELD)
    answer = record.get(ANSWER_FIELDS[0])
    if isinstance(answer, str) and gold.FINAL_ANSWER_MARK in answer:
        return gold.marked_solution(answer)
    return None


def _first_text(value: object, name: str) -> str:
    return _text(value[0] if isinstance(value, list) and value else value, name)


def _level(record: Record) -> int | None:
    for name in LEVEL_FIELDS:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, int | float) and gold.is_number(value):
            return int(value)
        numbered = _NAMED_LEVEL.fullmatch(_text(value, name, kind="a number or text"))
        if numbered is not None:
            return int(numbered[1])
    return None


def _label(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() and not _LONE_SURROGATE.search(value) else None


def _text(value: object, name: str, *, kind: str = "text") -> str:
    """A text that is not blank; ``kind`` tells the user what the field may be."""
    if not isinstance(value, str):
        raise ProblemFileError(f"field {name!r} must be {kind}, but is {type_name(value)}")
    if not value.strip():
        raise ProblemFileError(f"field {name!r} is empty")
    if _LONE_SURROGATE.search(value):
        raise ProblemFileError(f"field {name!r} holds half a surrogate pair, which is not text")
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_TEXT_SHOWN else text[:_MOST_TEXT_SHOWN] + "…")


def type_name(value: object) -> str:
    """What a plain value is, in JSON's words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    if type(value) in names:
        return names[type(value)]
    return "a number" if isinstance(value, int | float) else type(value).__name__
