"""Recorded responses: text that some model wrote somewhere, scored without a model.

A line is an object with ``id`` (of the problem) and ``response`` (text); the same id may come several times, once for each
sample. Optional are ``tokens`` (how many were generated), ``finish_reason`` (``stop`` or ``length``, as OpenAI-compatible
servers say) and ``score`` (of a reward model, for best-of-N). Other fields are ignored, and so are empty lines.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thor_ray.errors import UserError
from thor_ray.evaluation.samples import EvaluationSample, Timing, TokenUse
from thor_ray.grading import Grade
from thor_ray.problems import Problem
from thor_ray.trajectory import FinishReason

BATCH: Final = 64
"""Responses that are graded side by side, and then recorded."""

_MOST_FAULTS_SHOWN: Final = 10
_FINISH: Final = {"stop": FinishReason.ANSWERED, "length": FinishReason.LENGTH, None: None}

GradeMany = Callable[[Sequence[tuple[str, str]]], list[Grade]]
"""Grades (response, gold) pairs in order, e.g. ``GraderPool.grade_many``."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    id: str = Field(min_length=1)
    response: str
    tokens: int | None = Field(None, ge=0)
    finish_reason: Literal["stop", "length"] | None = None
    score: float | None = Field(None, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    """One response.

    Attributes:
        problem_id: The problem that it answers.
        sample_index: Which of that problem's responses, from 0, in the order of the file.
        response: The text.
        tokens: How many tokens were generated; ``None`` where unknown.
        finish: Why it ended; ``None`` where unknown.
        score: A reward model's score of it; ``None`` where there is none.
    """

    problem_id: str
    sample_index: int
    response: str
    tokens: int | None
    finish: FinishReason | None
    score: float | None


def read_responses(path: Path, problems: Mapping[str, Problem]) -> list[RecordedResponse]:
    """Reads all responses of a file, or refuses the file.

    Args:
        path: The file.
        problems: By id; every response must answer one of them.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or a line is no response to any of the problems; all lines
            are checked, and the message lists the first faults as ``file:line: fault``.
    """
    responses: list[RecordedResponse] = []
    faults: list[str] = []
    counts: Counter[str] = Counter()
    for number, text in enumerate(_read(path).split("\n"), start=1):
        if not text.strip():
            continue
        line = _parsed(text)
        if isinstance(line, str):
            faults.append(f"{path}:{number}: {line}")
        elif line.id not in problems:
            faults.append(f"{path}:{number}: there is no problem {line.id!r}")
        else:
            finish = _FINISH[line.finish_reason]
            responses.append(RecordedResponse(line.id, counts[line.id], line.response, line.tokens, finish, line.score))
            counts[line.id] += 1
    if faults:
        more = len(faults) - _MOST_FAULTS_SHOWN
        shown = faults[:_MOST_FAULTS_SHOWN] + ([f"... and {more} more faulty lines"] if more > 0 else [])
        raise UserError("\n".join(shown), f"a line is {{'id': ..., 'response': ...}}; ids are e.g. {_some(problems)}")
    if not responses:
        raise UserError(f"{path}: holds no responses")
    return responses


def grade_responses(
    responses: Sequence[RecordedResponse],
    problems: Mapping[str, Problem],
    benchmark: str,
    grade_many: GradeMany,
    attempt: int = 1,
) -> Iterator[EvaluationSample]:
    """Grades responses in batches, and yields their rows in order as each batch is done.

    Args:
        responses: To grade.
        problems: By id, with those of all responses among them.
        benchmark: What to call the set of problems.
        grade_many: The grader.
        attempt: For the rows.
    """
    left = iter(responses)
    while batch := list(islice(left, BATCH)):
        grades = grade_many([(one.response, problems[one.problem_id].answer) for one in batch])
        for response, grade in zip(batch, grades, strict=True):
            problem = problems[response.problem_id]
            yield EvaluationSample(
                benchmark=benchmark,
                problem_id=problem.id,
                sample_index=response.sample_index,
                status=grade.status,
                answer=grade.extracted,
                gold=problem.answer,
                attempt=attempt,
                subject=problem.subject,
                level=problem.level,
                grade_reason=grade.reason,
                grade_path=grade.path,
                finish=response.finish,
                tokens=None if response.tokens is None else TokenUse(generated=response.tokens),
                timing=Timing(grade=grade.milliseconds / 1000),
                external_score=response.score,
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "name a file of responses") from error


def _parsed(text: str) -> _Line | str:
    """The line, or what is wrong with it."""
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(tree, dict):
        return "not an object"
    try:
        return _Line.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _some(problems: Mapping[str, Problem]) -> str:
    return ", ".join(repr(name) for name in islice(problems, 3))
