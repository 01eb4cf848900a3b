"""What of rollouts that run ahead is kept beside a learner's checkpoint, so that a resumed run loses none of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from actors.stream import SampledFamily
from learners.checkpoint import CheckpointError
from thor_ray.errors import UserError
from thor_ray.files import write_text_atomically
from thor_ray.records import Stage, read_groups, write_groups
from thor_ray.selection import TrajectoryReject
from thor_ray.stream import StreamConfig, TrajectoryStream, restore_stream
from thor_ray.trajectory import Group

STATE_FILE: Final = "stream.json"
GROUPS_FILE: Final = "groups.parquet"

Rejected = Mapping[str, TrajectoryReject]
"""Why a trajectory may not train, by its id."""


def save_rollouts(place: Path, state: Mapping[str, Any], families: Sequence[SampledFamily]) -> None:
    """Writes the stream's state, and what had been sampled, maybe in part, and not yet taken, into a new directory."""
    place.mkdir(parents=True, exist_ok=True)
    write_groups(place / GROUPS_FILE, (group for family in families for group in family.groups), Stage.RL, 0)
    write_text_atomically(place / STATE_FILE, json.dumps(state))


def family_uid(uid: str) -> str:
    """Of the family that a group belongs to: an episode group's uid is the family's own."""
    return uid.partition("/")[0]


def restore_rollouts(
    bounds: StreamConfig, saved: Path, judge: Callable[[Sequence[Group]], Rejected]
) -> tuple[TrajectoryStream, list[SampledFamily], int]:
    """What ``save_rollouts`` wrote.

    Args:
        bounds: Of the stream.
        saved: Where it lies.
        judge: Which trajectories of some groups may not train.

    Returns:
        The stream; the families that had been sampled, maybe in part, and not yet taken; and how many of the stream's
        drops the rounds before had told of.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    try:
        state = json.loads((saved / STATE_FILE).read_text(encoding="utf-8"))
        stream = restore_stream(bounds, state)
        groups = read_groups([saved / GROUPS_FILE])
    except (OSError, ValueError, UserError) as error:
        raise CheckpointError(
            f"the stream's checkpoint {saved} cannot be read: {error}", "remove it and the learner's beside it"
        ) from error
    filtered = {drop.uid: drop.problem for drop in stream.drops}
    families = []
    for uid, members in groupby(groups, key=lambda group: family_uid(group.uid)):
        problem = filtered[uid] if uid in filtered else stream.in_flight[uid].ticket.problem
        family = SampledFamily(uid, problem, list(members), filtered=uid in filtered)
        families.append(family if family.suspended else replace(family, rejected=judge(family.groups)))
    return stream, families, state.get("drops_told", len(stream.drops))
