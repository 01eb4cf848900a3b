"""Files of answers to grade, and files of verdicts: JSON Lines, one object a line.

Cases come from anywhere, so no line of theirs can stop the work: one that is no case gets a verdict that says so.
"""

import json
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from thor_ray.grading.policy import EXACT, GradingPolicy
from thor_ray.grading.pool import GraderPool
from thor_ray.grading.verdict import Grade, GradeStatus

BATCH = 64
"""Cases in flight at a time."""


CaseId = str | int | float | None


class PredictionKind(StrEnum):
    """What a case's prediction is."""

    RESPONSE = "response"
    """All that a policy wrote; its last box is graded."""
    ANSWER = "answer"
    """What a box holds."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a file of cases.

    Attributes:
        id: As the line has it.
        gold: The gold answer.
        prediction: What is graded.
        kind: What the prediction is.
    """

    id: CaseId
    gold: str
    prediction: str
    kind: PredictionKind


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of a file of verdicts: the case's id, and the fields of its grade."""

    id: CaseId
    status: str
    reason: str
    path: str
    extracted: str | None
    milliseconds: float

    def to_json(self) -> str:
        """The line, without its end; ASCII, so that no character of an answer can break it."""
        return json.dumps(asdict(self))


class CaseError(ValueError):
    """A line that is no case.

    Attributes:
        id: The line's id if it has one.
    """

    def __init__(self, message: str, identity: CaseId = None) -> None:
        super().__init__(message)
        self.id = identity


def parse_case(line: bytes, default_kind: PredictionKind) -> Case:
    """Reads one line.

    Args:
        line: The line as it stands in the file.
        default_kind: Of cases that don't name theirs.

    Raises:
        CaseError: The line is no case; the message says what is wrong.
    """
    record, identity = _record(line)
    kind = record.get("kind", default_kind)
    if kind not in list(PredictionKind):
        raise CaseError("field 'kind' must be 'response' or 'answer'", identity)
    return Case(identity, _text(record, "gold"), _text(record, "prediction"), PredictionKind(kind))


def grade_lines(
    lines: Iterable[bytes], pool: GraderPool, default_kind: PredictionKind, policy: GradingPolicy = EXACT
) -> Iterator[Verdict]:
    """Grades all cases of a file; one verdict for each line that is not blank, in their order.

    Args:
        lines: The lines of the file.
        pool: Grades them, ``BATCH`` cases at a time.
        default_kind: Of cases that don't name theirs.
        policy: How strictly numbers are compared.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    while batch := list(islice(numbered, BATCH)):
        outcomes = [_case_or_verdict(number, line, default_kind) for number, line in batch]
        futures = [_submitted(outcome, pool, policy) for outcome in outcomes if isinstance(outcome, Case)]
        grades = (future.result() for future in futures)
        for outcome in outcomes:
            yield _verdict(outcome.id, next(grades)) if isinstance(outcome, Case) else outcome


def read_golds(lines: Iterable[bytes]) -> tuple[list[tuple[str, str]], list[str]]:
    """Reads the gold answers of a file of problems or cases: the fields ``answer`` or ``gold``, and ``id``.

    Returns:
        Pairs of id (``line <number>`` where there is none) and gold answer, and what is wrong with lines that have none.
    """
    golds, faults = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record, identity = _record(line)
            gold = _text(record, "gold" if "gold" in record else "answer")
        except CaseError as error:
            faults.append(f"line {number}: {error}")
        else:
            golds.append((f"line {number}" if identity is None else str(identity), gold))
    return golds, faults


def _submitted(case: Case, pool: GraderPool, policy: GradingPolicy) -> Future[Grade]:
    submit = pool.submit_answer if case.kind is PredictionKind.ANSWER else pool.submit
    return submit(case.prediction, case.gold, policy)


def _case_or_verdict(number: int, line: bytes, default_kind: PredictionKind) -> Case | Verdict:
    try:
        return parse_case(line, default_kind)
    except CaseError as error:
        return Verdict(error.id, GradeStatus.ERROR.value, f"line {number}: {error}", "input", None, 0.0)


def _verdict(identity: CaseId, grade: Grade) -> Verdict:
    return Verdict(
        identity, grade.status.value, grade.reason, grade.path, grade.extracted, round(grade.milliseconds, 3)
    )


def _record(line: bytes) -> tuple[dict[str, Any], CaseId]:
    """The object on a line, and its id.

    Raises:
        CaseError: There is none.
    """
    try:
        record = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise CaseError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    except CaseError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError also covers integers of more than 4300 digits
        raise CaseError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise CaseError("not a JSON object")
    identity = record.get("id")
    if identity is not None and not isinstance(identity, str) and not _is_number(identity):
        raise CaseError("field 'id' must be text or a number")
    return record, identity


def _text(record: dict[str, Any], name: str) -> str:
    """A field that is text, or a number, which is as good."""
    value = record.get(name)
    if isinstance(value, str):
        return value
    if _is_number(value):
        return str(value)
    fault = "is missing" if name not in record else "must be text or a number"
    raise CaseError(f"field {name!r} {fault}", record.get("id"))


def _is_number(value: object) -> bool:
    """Whether a JSON value is a finite number; ``1e999`` is read as infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse_constant(name: str) -> None:
    raise CaseError(f"not JSON: {name} is not a number")
