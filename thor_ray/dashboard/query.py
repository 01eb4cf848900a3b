"""Filtering, sorting and paging the index: pure functions of a snapshot."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thor_ray.dashboard.index import Snapshot
from thor_ray.dashboard.statuses import Status, holds

MAX_PAGE: Final = 200


class Order(StrEnum):
    """Columns to sort by."""

    WRITTEN = "written"
    REWARD = "reward"
    TOKENS = "tokens"
    SECONDS = "seconds"
    CALLS = "calls"
    ADVANTAGE = "advantage"
    ROUND = "round"


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


def matching(snapshot: Snapshot, query: RolloutQuery) -> npt.NDArray[np.bool_]:
    """Bool ``[rows]``: which rows have the values that ``query`` asks for. Statuses and text are not looked at."""
    mask = np.ones(len(snapshot.table), np.bool_)
    for column, value in query.equal:
        mask &= pc.equal(snapshot.table[column], value).fill_null(False).to_numpy()
    return mask


def statuses_hold(snapshot: Snapshot, statuses: tuple[Status, ...]) -> npt.NDArray[np.bool_]:
    """Bool ``[rows]``: where all of ``statuses`` hold."""
    mask = np.ones(len(snapshot.table), np.bool_)
    for status in statuses:
        mask &= snapshot.flags[status]
    return mask


def counts(snapshot: Snapshot, mask: npt.NDArray[np.bool_]) -> dict[str, int]:
    """How many rows of ``mask`` each status holds for."""
    return {str(status): int(np.count_nonzero(flag & mask)) for status, flag in snapshot.flags.items()}


def page(snapshot: Snapshot, mask: npt.NDArray[np.bool_], query: RolloutQuery) -> pa.Table:
    """The rows of one page. Equal rows keep the order of the records, so pages neither overlap nor leave gaps."""
    chosen = np.flatnonzero(mask)
    keys = snapshot.numbers(str(query.order))[chosen]
    # What is not a number sorts last either way; a stable sort keeps the order of the records among equals.
    order = np.argsort(-keys if query.descending else keys, kind="stable")
    wanted = order[query.offset : query.offset + min(query.limit, MAX_PAGE)]
    return snapshot.table.take(pa.array(chosen[wanted]))


def labelled(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON objects, each with the ``statuses`` that hold for it."""
    flags = {status: holds(rows, status) for status in Status}
    objects: list[dict[str, Any]] = rows.drop_columns(["file", "row", "written"]).to_pylist()
    for number, row in enumerate(objects):
        row["statuses"] = [str(status) for status, flag in flags.items() if flag[number]]
    return objects
