"""Filtering, searching, sorting and paging the index: pure functions of Arrow tables."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thor_ray.trajectory import FinishReason, GroupKind

CORRECT: Final = "correct"
GRADER_ERROR: Final = "error"
MAX_PAGE: Final = 200


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


class Order(StrEnum):
    """Columns to sort by."""

    WRITTEN = "written"
    REWARD = "reward"
    TOKENS = "tokens"
    SECONDS = "seconds"
    CALLS = "calls"
    ADVANTAGE = "advantage"
    ROUND = "round"


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


@dataclass(frozen=True, slots=True)
class RolloutQuery:
    """What to list.

    Attributes:
        statuses: All of them have to hold.
        equal: Columns with the values that they must have, e.g. ``stage``, ``round``, ``problem_id``.
        text: Found, whatever the case, in an id, an answer or the text of the trajectory; empty finds all.
        order: The column to sort by; rows without a value come last.
        descending: Largest first.
        offset: Rows to skip.
        limit: Rows of a page, at most ``MAX_PAGE``.
    """

    statuses: tuple[Status, ...] = ()
    equal: tuple[tuple[str, str | int], ...] = ()
    text: str = ""
    order: Order = Order.WRITTEN
    descending: bool = True
    offset: int = 0
    limit: int = 50


def holds(table: pa.Table, status: Status) -> npt.NDArray[np.bool_]:
    """Bool ``[rows]``: for which rows of the index ``status`` holds."""
    column = _CONDITIONS[status](table).fill_null(False)
    result: npt.NDArray[np.bool_] = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False)
    return result


def matching(table: pa.Table, query: RolloutQuery) -> npt.NDArray[np.bool_]:
    """Bool ``[rows]``: which rows have the values that ``query`` asks for. Statuses and text are not looked at."""
    mask = np.ones(len(table), np.bool_)
    for column, value in query.equal:
        mask &= pc.equal(table[column], value).fill_null(False).to_numpy()
    return mask


def statuses_hold(table: pa.Table, statuses: tuple[Status, ...]) -> npt.NDArray[np.bool_]:
    """Bool ``[rows]``: where all of ``statuses`` hold."""
    mask = np.ones(len(table), np.bool_)
    for status in statuses:
        mask &= holds(table, status)
    return mask


def counts(table: pa.Table, mask: npt.NDArray[np.bool_]) -> dict[str, int]:
    """How many rows of ``mask`` each status holds for."""
    return {str(status): int((holds(table, status) & mask).sum()) for status in Status}


def page(table: pa.Table, mask: npt.NDArray[np.bool_], query: RolloutQuery) -> pa.Table:
    """The rows of one page. Equal rows keep the order of the records, so pages neither overlap nor leave gaps."""
    chosen = np.flatnonzero(mask)
    keys = table.select([str(query.order), "file", "row"]).take(pa.array(chosen))
    direction = "descending" if query.descending else "ascending"
    by = [(str(query.order), direction, "at_end"), ("file", "ascending", "at_end"), ("row", "ascending", "at_end")]
    order = pc.sort_indices(keys, sort_keys=by).to_numpy()
    wanted = order[query.offset : query.offset + min(query.limit, MAX_PAGE)]
    return table.take(pa.array(chosen[wanted]))


def labelled(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON objects, each with the ``statuses`` that hold for it."""
    flags = {status: holds(rows, status) for status in Status}
    objects: list[dict[str, Any]] = rows.drop_columns(["file", "row", "written"]).to_pylist()
    for number, row in enumerate(objects):
        row["statuses"] = [str(status) for status, flag in flags.items() if flag[number]]
    return objects
