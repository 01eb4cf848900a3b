"""Trajectories that belong together: siblings of a group, continuations from a failed step."""

import math
from collections import defaultdict
from typing import Any

from thor_ray.dashboard.details import trajectory_object
from thor_ray.dashboard.index import Snapshot
from thor_ray.dashboard.query import labelled
from thor_ray.dashboard.reading import NotRecordedError, one_record, records_at, rows_where
from thor_ray.segments import Decoder


def group_object(snapshot: Snapshot, uid: str, decode: Decoder | None) -> dict[str, Any]:
    """A group: its siblings whole, the spread of their rewards, and why it was dropped, if it was.

    Raises:
        NotRecordedError: there is none of this uid.
    """
    rows = rows_where(snapshot, "group_uid", uid)
    if not len(rows):
        raise NotRecordedError(f"the run has no group {uid!r}")
    siblings = [
        trajectory_object(record, decode) | {"statuses": row["statuses"]}
        for record, row in zip(records_at(snapshot, rows), labelled(rows), strict=True)
    ]
    first = siblings[0]
    shared = ("group_uid", "group_kind", "group_dropped", "problem_id", "stage", "round", "gold_answer", "parent")
    return {
        **{name: first[name] for name in shared},
        "rewards": spread([one["reward"] for one in siblings if one["reward"] is not None]),
        "trajectories": siblings,
    }


def tree_object(snapshot: Snapshot, trajectory_id: str, decode: Decoder | None) -> dict[str, Any]:
    """What branches from a trajectory, or from the parent of a continuation.

    Returns:
        ``trajectory`` (the one that was cut), ``branches`` in the order of their cuts: each a step group with
        ``step_index``, ``cut`` and its ``continuations``; ``asked`` is the id that was asked for. ``parent_missing``
        says that a continuation's parent was never recorded; it then stands for itself.

    Raises:
        NotRecordedError: there is no such trajectory.
    """
    record = one_record(snapshot, trajectory_id)
    missing = False
    if record.trajectory.parent is not None:
        try:
            record = one_record(snapshot, record.trajectory.parent.trajectory_id)
        except NotRecordedError:
            missing = True
    rows = rows_where(snapshot, "parent_id", record.trajectory.id)
    branches: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for child, row in zip(records_at(snapshot, rows), labelled(rows), strict=True):
        branches[child.group_uid].append(trajectory_object(child, decode) | {"statuses": row["statuses"]})
    return {
        "asked": trajectory_id,
        "parent_missing": missing,
        "trajectory": trajectory_object(record, decode),
        "branches": sorted(map(_branch, branches.values()), key=lambda branch: branch["cut"]),
    }


def _branch(continuations: list[dict[str, Any]]) -> dict[str, Any]:
    first = continuations[0]
    return {
        "group_uid": first["group_uid"],
        "group_dropped": first["group_dropped"],
        "step_index": first["parent"]["step_index"],
        "cut": first["parent"]["cut"],
        "rewards": spread([one["reward"] for one in continuations if one["reward"] is not None]),
        "continuations": continuations,
    }


def spread(rewards: list[float]) -> dict[str, float | int] | None:
    """Count, mean, population standard deviation and range of rewards; ``None`` without any."""
    if not rewards:
        return None
    mean = math.fsum(rewards) / len(rewards)
    deviation = math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards))
    return {"count": len(rewards), "mean": mean, "deviation": deviation, "min": min(rewards), "max": max(rewards)}
