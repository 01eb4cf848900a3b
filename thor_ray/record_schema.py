"""The Arrow schema of a recorded trajectory, and the way between a trajectory and its row.

The small columns at the front (status, counts, reward) are there to filter and page by without reading tokens.
Columns of the learner are empty until it has something to say.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thor_ray import __version__
from thor_ray.trajectory import (
    Cost,
    DiscardedAttempt,
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Parent,
    Span,
    SpanKind,
    Step,
    Tokens,
    Trajectory,
)

SCHEMA_VERSION: Final = 1
VERSION_KEY: Final = b"thor_ray.schema_version"
WRITER_KEY: Final = b"thor_ray.written_by"

_SPAN: Final = pa.struct([("kind", pa.string()), ("start", pa.int32()), ("end", pa.int32())])
_RESULT: Final = pa.struct(
    [
        ("status", pa.string()),
        ("text", pa.string()),
        ("exception_type", pa.string()),
        ("wall_seconds", pa.float64()),
        ("queue_seconds", pa.float64()),
    ]
)
_STEP: Final = pa.struct(
    [
        ("thought", _SPAN),
        ("action", _SPAN),
        ("observation", _SPAN),
        ("code", pa.string()),
        ("result", _RESULT),
        ("inherited", pa.bool_()),
    ]
)
_DISCARDED: Final = pa.struct(
    [
        ("step_index", pa.int32()),
        ("cut", pa.int32()),
        ("ids", pa.list_(pa.int32())),
        ("code", pa.string()),
        ("result", _RESULT),
    ]
)
_PARENT: Final = pa.struct([("trajectory_id", pa.string()), ("step_index", pa.int32()), ("cut", pa.int32())])
_COST: Final = pa.struct(
    [
        ("generated_tokens", pa.int64()),
        ("discarded_tokens", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("sandbox_calls", pa.int64()),
        ("failed_calls", pa.int64()),
        ("llm_seconds", pa.float64()),
        ("tool_seconds", pa.float64()),
        ("queue_seconds", pa.float64()),
        ("grade_seconds", pa.float64()),
    ]
)

SCHEMA: Final = pa.schema(
    [
        # To filter and page by.
        ("trajectory_id", pa.string()),
        ("problem_id", pa.string()),
        ("stage", pa.string()),
        ("round", pa.int32()),
        ("group_uid", pa.string()),
        ("group_kind", pa.string()),
        ("group_dropped", pa.string()),
        ("finish", pa.string()),
        ("grade_status", pa.string()),
        ("reward", pa.float64()),
        ("answer", pa.string()),
        ("gold_answer", pa.string()),
        ("tokens", pa.int32()),
        ("calls", pa.int32()),
        ("failed_calls", pa.int32()),
        ("discarded_attempts", pa.int32()),
        # The trajectory.
        ("ids", pa.list_(pa.int32())),
        ("log_probs", pa.list_(pa.float32())),
        ("versions", pa.list_(pa.int32())),
        ("first_sampled", pa.int32()),
        ("spans", pa.list_(_SPAN)),
        ("steps", pa.list_(_STEP)),
        ("parent", _PARENT),
        ("discarded", pa.list_(_DISCARDED)),
        ("cost", _COST),
        # For readers and for search.
        ("texts", pa.list_(pa.string())),
        ("discarded_texts", pa.list_(pa.string())),
        # The learner's.
        ("advantage", pa.float64()),
        ("proximal_log_probs", pa.list_(pa.float32())),
        ("excluded", pa.string()),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode(), WRITER_KEY: __version__.encode()},
)
"""The schema. ``calls``, ``failed_calls`` count the trajectory's own executed blocks; ``tokens`` is ``len(ids)``."""

SUMMARY_COLUMNS: Final = tuple(SCHEMA.names[: SCHEMA.get_field_index("ids")])
"""The small columns, which say what a trajectory is without its tokens."""


TOKEN_COLUMNS: Final = ("ids", "log_probs", "versions", "proximal_log_probs")
"""Columns that hold one number a token; they travel as arrays, not as lists of objects."""


def trajectory_to_row(trajectory: Trajectory) -> dict[str, Any]:
    """The columns that ``trajectory`` fills; those of its group, stage and learner are left to the caller."""
    return {
        "trajectory_id": trajectory.id,
        "problem_id": trajectory.problem_id,
        "finish": str(trajectory.finish),
        "grade_status": trajectory.grade_status,
        "reward": trajectory.reward,
        "answer": trajectory.answer,
        "tokens": trajectory.length,
        "calls": trajectory.calls,
        "failed_calls": sum(step.result.status.failed for step in trajectory.own_steps),
        "discarded_attempts": len(trajectory.discarded),
        "ids": np.asarray(trajectory.ids, dtype=np.int32),
        "log_probs": trajectory.log_probs,
        "versions": trajectory.versions,
        "first_sampled": trajectory.first_sampled,
        "spans": [_span_row(span) for span in trajectory.spans],
        "steps": [
            {
                "thought": _span_row(step.thought),
                "action": _span_row(step.action),
                "observation": None if step.observation is None else _span_row(step.observation),
                "code": step.code,
                "result": _result_row(step.result),
                "inherited": step.inherited,
            }
            for step in trajectory.steps
        ],
        "parent": None
        if trajectory.parent is None
        else {name: getattr(trajectory.parent, name) for name in Parent.__slots__},
        "discarded": [
            {
                "step_index": attempt.step_index,
                "cut": attempt.cut,
                "ids": attempt.ids,
                "code": attempt.code,
                "result": _result_row(attempt.result),
            }
            for attempt in trajectory.discarded
        ],
        "cost": {name: getattr(trajectory.cost, name) for name in Cost.__slots__},
    }


def trajectory_from_row(row: dict[str, Any], tokens: Mapping[str, npt.NDArray[Any]]) -> Trajectory:
    """The trajectory that ``trajectory_to_row`` took apart.

    Args:
        row: All columns but the token columns, as Python objects.
        tokens: ``ids``, ``log_probs`` and ``versions`` as arrays.
    """
    return Trajectory(
        id=row["trajectory_id"],
        problem_id=row["problem_id"],
        tokens=Tokens(tuple(tokens["ids"].tolist()), tokens["log_probs"], tokens["versions"]),
        spans=tuple(_span(span) for span in row["spans"]),
        steps=tuple(
            Step(
                thought=_span(step["thought"]),
                action=_span(step["action"]),
                observation=None if step["observation"] is None else _span(step["observation"]),
                code=step["code"],
                result=_result(step["result"]),
                inherited=step["inherited"],
            )
            for step in row["steps"]
        ),
        first_sampled=row["first_sampled"],
        finish=FinishReason(row["finish"]),
        cost=Cost(**row["cost"]),
        answer=row["answer"],
        grade_status=row["grade_status"],
        reward=row["reward"],
        parent=None if row["parent"] is None else Parent(**row["parent"]),
        discarded=tuple(
            DiscardedAttempt(
                step_index=attempt["step_index"],
                cut=attempt["cut"],
                ids=tuple(attempt["ids"]),
                code=attempt["code"],
                result=_result(attempt["result"]),
            )
            for attempt in row["discarded"]
        ),
    )


def _span_row(span: Span) -> dict[str, Any]:
    return {"kind": str(span.kind), "start": span.start, "end": span.end}


def _result_row(result: ExecutionResult) -> dict[str, Any]:
    return {**{name: getattr(result, name) for name in ExecutionResult.__slots__}, "status": str(result.status)}


def _span(row: dict[str, Any]) -> Span:
    return Span(SpanKind(row["kind"]), row["start"], row["end"])


def _result(row: dict[str, Any]) -> ExecutionResult:
    return ExecutionResult(**{**row, "status": ExecutionStatus(row["status"])})
