"""What may be said of a trajectory, as conditions on the columns of the index."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thor_ray.trajectory import FinishReason, GroupKind

CORRECT: Final = "correct"
GRADER_ERROR: Final = "error"


class Status(StrEnum):
    """What may be said of a trajectory; several can hold at once."""

    CORRECT = "correct"
    WRONG = "wrong"
    """Graded, and not correct: no box and unparsable answers included."""
    TOOL_ERROR = "tool_error"
    """A program of its own failed."""
    VOID_TURN = "void_turn"
    """A turn brought neither a program nor an answer."""
    TRUNCATED = "truncated"
    """Ended by the token limit."""
    OUT_OF_ROUNDS = "out_of_rounds"
    GRADER_ERROR = "grader_error"
    INFRA_ERROR = "infra_error"
    """The sandbox failed, not the program."""
    ABORTED = "aborted"
    STEP = "step"
    """A continuation from a failed step."""
    CORRECTED = "corrected"
    """Attempts were cut away and sampled anew."""
    DROPPED = "dropped"
    """Its group did not reach the learner."""
    EXCLUDED = "excluded"
    """Its group trained without it."""


_CONDITIONS: Final[dict[Status, Callable[[pa.Table], Any]]] = {
    Status.CORRECT: lambda t: pc.equal(t["grade_status"], CORRECT),
    Status.WRONG: lambda t: pc.invert(pc.is_in(t["grade_status"], pa.array([CORRECT, GRADER_ERROR, None]))),
    Status.TOOL_ERROR: lambda t: pc.greater(t["failed_calls"], 0),
    Status.VOID_TURN: lambda t: t["void_turn"],
    Status.TRUNCATED: lambda t: pc.equal(t["finish"], str(FinishReason.LENGTH)),
    Status.OUT_OF_ROUNDS: lambda t: pc.equal(t["finish"], str(FinishReason.ROUNDS_EXHAUSTED)),
    Status.GRADER_ERROR: lambda t: pc.equal(t["grade_status"], GRADER_ERROR),
    Status.INFRA_ERROR: lambda t: t["infra_error"],
    Status.ABORTED: lambda t: pc.equal(t["finish"], str(FinishReason.ABORTED)),
    Status.STEP: lambda t: pc.equal(t["group_kind"], str(GroupKind.STEP)),
    Status.CORRECTED: lambda t: pc.greater(t["discarded_attempts"], 0),
    Status.DROPPED: lambda t: pc.is_valid(t["group_dropped"]),
    Status.EXCLUDED: lambda t: pc.is_valid(t["excluded"]),
}


def holds(table: pa.Table, status: Status) -> npt.NDArray[np.bool_]:
    """Bool ``[rows]``: for which rows of the index ``status`` holds."""
    column = _CONDITIONS[status](table).fill_null(False)
    result: npt.NDArray[np.bool_] = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False)
    return result
