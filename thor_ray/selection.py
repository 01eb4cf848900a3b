"""Which trajectories and groups may train, and which failed steps are resampled (spec sections D.3, E.2, E.7).

Every rule is a named predicate with a count of what it rejected, so that no trajectory disappears without a reason
(invariant 6).
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from thor_ray.config import FilterConfig
from thor_ray.grading.extraction import extract_boxed
from thor_ray.objectives import group_advantages
from thor_ray.trajectory import Group, GroupKind, Trajectory

Decode = Callable[[Sequence[int]], str]
"""Token ids to text; only the boxed-tail rule reads text."""


class TrajectoryReject(StrEnum):
    """Why a trajectory does not survive in its group."""

    NO_REWARD = "no_reward"
    """Infrastructure errors and continuations without an action have no reward, and so no advantage."""
    FAILED_CODE = "failed_code"
    SHORT_RESPONSE = "short_response"
    BOX_NOT_IN_TAIL = "box_not_in_tail"


class GroupReject(StrEnum):
    """Why a group does not reach the learner."""

    TOO_FEW_SURVIVORS = "too_few_survivors"
    ZERO_VARIANCE = "zero_variance"


@dataclass(frozen=True, slots=True)
class SelectedGroup:
    """A group that trains.

    Attributes:
        group: Holds only the survivors.
        advantages: One for each survivor, in the same order.
    """

    group: Group
    advantages: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What became of the groups of a round.

    Attributes:
        kept: Groups that train, in the order in which they came.
        dropped: All others, complete, each with the reason in ``Group.dropped``.
        rejected: Why a trajectory does not survive, by its id; those of dropped groups included.
        group_rejects: Dropped groups by reason.
    """

    kept: tuple[SelectedGroup, ...] = ()
    dropped: tuple[Group, ...] = ()
    rejected: Mapping[str, TrajectoryReject] = field(default_factory=dict)
    group_rejects: Counter[GroupReject] = field(default_factory=Counter)

    @property
    def trajectory_rejects(self) -> Counter[TrajectoryReject]:
        """Rejected trajectories by reason."""
        return Counter(self.rejected.values())


class FailedStep(NamedTuple):
    """A step to resample: ``trajectory.steps[step_index]``."""

    trajectory: Trajectory
    step_index: int


def has_no_reward(trajectory: Trajectory) -> bool:
    """Nothing may be learnt from it (invariant 4)."""
    return trajectory.reward is None


def has_failed_code(trajectory: Trajectory) -> bool:
    """One of its blocks failed. An infrastructure error is not the code's failure."""
    return any(step.result.status.failed for step in trajectory.own_steps)


def is_short(trajectory: Trajectory, min_response_tokens: int) -> bool:
    """Everything after the prompt, observations included, is shorter than ``min_response_tokens``."""
    return len(trajectory.ids) - trajectory.prompt_length < min_response_tokens


def lacks_box_in_tail(trajectory: Trajectory, tail_tokens: int, decode: Decode) -> bool:
    r"""The last ``tail_tokens`` tokens of the response hold no ``\boxed{...}`` with something in it."""
    tail = trajectory.ids[max(trajectory.prompt_length, len(trajectory.ids) - tail_tokens) :]
    return extract_boxed(decode(tail)) is None


def reject_reason(
    trajectory: Trajectory, kind: GroupKind, filters: FilterConfig, decode: Decode | None = None
) -> TrajectoryReject | None:
    """The first rule that rejects a trajectory, or ``None``.

    Apart from a missing reward, rules concern episodes only: a failed block is what the step level learns from.

    Raises:
        ValueError: ``filters.boxed_tail_tokens`` is on, and there is no ``decode``.
    """
    if has_no_reward(trajectory):
        return TrajectoryReject.NO_REWARD
    if kind is GroupKind.STEP:
        return None
    if filters.failed_code and has_failed_code(trajectory):
        return TrajectoryReject.FAILED_CODE
    if is_short(trajectory, filters.min_response_tokens):
        return TrajectoryReject.SHORT_RESPONSE
    if filters.boxed_tail_tokens:
        if decode is None:
            raise ValueError("rl.filters.boxed_tail_tokens needs a tokenizer to read the tail: pass decode")
        if lacks_box_in_tail(trajectory, filters.boxed_tail_tokens, decode):
            return TrajectoryReject.BOX_NOT_IN_TAIL
    return None


def too_few_survive(survivors: int, group_size: int, min_survivors: float) -> bool:
    """Fewer than ``ceil(min_survivors * group_size)`` are left, or none at all (spec D.3-3, D.3-4)."""
    return survivors < max(1, math.ceil(min_survivors * group_size))


def has_zero_variance(rewards: Sequence[float]) -> bool:
    """All of several rewards are equal, so that every advantage is 0; a single survivor stays (spec D.3-5)."""
    return len(rewards) > 1 and min(rewards) == max(rewards)


def select_groups(groups: Iterable[Group], filters: FilterConfig, decode: Decode | None = None) -> Selection:
    """Filters trajectories, then groups, and computes the advantages of what is left (spec D.3, E.4).

    Args:
        groups: Episode and step groups as sampled; ``len(group.trajectories)`` is G.
        filters: Rules.
        decode: Needed if ``filters.boxed_tail_tokens`` is on.
    """
    kept: list[SelectedGroup] = []
    dropped: list[Group] = []
    rejected: dict[str, TrajectoryReject] = {}
    group_rejects: Counter[GroupReject] = Counter()
    for group in groups:
        for trajectory in group.trajectories:
            if (reason := reject_reason(trajectory, group.kind, filters, decode)) is not None:
                rejected[trajectory.id] = reason
        survivors = tuple(trajectory for trajectory in group.trajectories if trajectory.id not in rejected)
        rewards = [trajectory.reward for trajectory in survivors if trajectory.reward is not None]
        if too_few_survive(len(survivors), len(group.trajectories), filters.min_survivors):
            reject = GroupReject.TOO_FEW_SURVIVORS
        elif has_zero_variance(rewards):
            reject = GroupReject.ZERO_VARIANCE
        else:
            advantages = tuple(group_advantages(rewards).tolist())
            kept.append(SelectedGroup(replace(group, trajectories=survivors), advantages))
            continue
        group_rejects[reject] += 1
        dropped.append(replace(group, dropped=reject.value))
    return Selection(tuple(kept), tuple(dropped), rejected, group_rejects)


def failed_steps(trajectories: Iterable[Trajectory]) -> list[FailedStep]:
    """All failed steps that the trajectories themselves sampled, in order (``F`` of spec E.7)."""
    return [
        FailedStep(trajectory, index)
        for trajectory in trajectories
        for index, step in enumerate(trajectory.steps)
        if step.result.status.failed and not step.inherited
    ]


def choose_failed_steps(trajectories: Iterable[Trajectory], limit: int, seed: int) -> list[FailedStep]:
    """At most ``limit`` failed steps, drawn without replacement, in their original order (spec E.1, E.7).

    The same trajectories, limit and seed give the same choice (invariant 11).

    Raises:
        ValueError: ``limit`` is negative.
    """
    if limit < 0:
        raise ValueError(f"limit is {limit}, must not be negative")
    candidates = failed_steps(trajectories)
    if len(candidates) <= limit:
        return candidates
    chosen = sorted(random.Random(seed).sample(range(len(candidates)), limit))
    return [candidates[index] for index in chosen]
