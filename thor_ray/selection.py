"""Which trajectories and groups may train, and which failed steps are resampled (spec sections D.3, E.2, E.7).

Every rule is a named predicate with a count of what it rejected, so that no trajectory disappears without a reason
(invariant 6). A rule of trajectories answers whether it *rejects*, looking at one trajectory alone.
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
from thor_ray.grading.repetition import has_degenerate_repetition
from thor_ray.objectives import group_advantages
from thor_ray.trajectory import FinishReason, Group, GroupKind, Trajectory

Decode = Callable[[Sequence[int]], str]
"""Token ids to text; only the rules on the box and on repetition read text."""

Rule = Callable[[Trajectory], bool]
"""Whether a trajectory is rejected."""


class TrajectoryReject(StrEnum):
    """Why a trajectory does not survive in its group."""

    NO_REWARD = "no_reward"
    """Infrastructure errors and continuations without an action have no reward, and so no advantage."""
    FAILED_CODE = "failed_code"
    SHORT_RESPONSE = "short_response"
    BOX_NOT_IN_TAIL = "box_not_in_tail"
    REPETITION = "repetition"
    VOID_TURN = "void_turn"


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
    return trajectory.length - trajectory.prompt_length < min_response_tokens


def lacks_box_in_tail(trajectory: Trajectory, tail_tokens: int, decode: Decode) -> bool:
    r"""The last ``tail_tokens`` tokens of the response hold no ``\boxed{...}`` with something in it."""
    tail = trajectory.ids[max(trajectory.prompt_length, trajectory.length - tail_tokens) :]
    return extract_boxed(decode(tail)) is None


def is_repetitive(trajectory: Trajectory, decode: Decode) -> bool:
    """The policy's own text, observations excluded, holds degenerate repetition (spec D.2, H.1)."""
    ids, spans = trajectory.ids, (span for span in trajectory.spans if span.kind.written_by_policy)
    text = "".join(decode(ids[span.start : span.end]) for span in spans)
    return has_degenerate_repetition(text)


def has_void_turn(trajectory: Trajectory) -> bool:
    """One of the policy's turns brought neither a program nor an answer (SimpleTIR, arXiv 2509.02479).

    That is an empty program, or a last turn that ended, by the policy's will or by the token limit, without a box. A
    turn that was ended for want of rounds asked for a program, and is not void.
    """
    if any(not step.code.strip() for step in trajectory.own_steps):
        return True
    if trajectory.answer is not None or trajectory.finish not in (FinishReason.ANSWERED, FinishReason.LENGTH):
        return False
    # A trajectory may reach its limit with an observation, before another turn began.
    steps = trajectory.steps
    began_turn = not steps or trajectory.length > (steps[-1].observation or steps[-1].action).end
    return trajectory.finish is FinishReason.ANSWERED or began_turn


def active_rules(
    kind: GroupKind, filters: FilterConfig, decode: Decode | None = None
) -> list[tuple[TrajectoryReject, Rule]]:
    """The rules that trajectories of a group must pass, in order, each with the reason it gives.

    Apart from a missing reward, rules concern episodes only: a failed block is what the step level learns from, and
    a continuation ends with its program.

    Raises:
        ValueError: a rule reads text, and there is no ``decode``.
    """
    rules: list[tuple[TrajectoryReject, Rule]] = [(TrajectoryReject.NO_REWARD, has_no_reward)]
    if kind is GroupKind.STEP:
        return rules
    if filters.failed_code:
        rules.append((TrajectoryReject.FAILED_CODE, has_failed_code))
    if filters.min_response_tokens:
        rules.append((TrajectoryReject.SHORT_RESPONSE, lambda each: is_short(each, filters.min_response_tokens)))
    if filters.boxed_tail_tokens:
        read = _required(decode, "boxed_tail_tokens")
        rules.append(
            (TrajectoryReject.BOX_NOT_IN_TAIL, lambda each: lacks_box_in_tail(each, filters.boxed_tail_tokens, read))
        )
    if filters.repetition:
        text_of = _required(decode, "repetition")
        rules.append((TrajectoryReject.REPETITION, lambda each: is_repetitive(each, text_of)))
    if filters.void_turns:
        rules.append((TrajectoryReject.VOID_TURN, has_void_turn))
    return rules


def _required(decode: Decode | None, option: str) -> Decode:
    if decode is None:
        raise ValueError(f"rl.filters.{option} needs a tokenizer to read the text: pass decode")
    return decode


def reject_reason(trajectory: Trajectory, rules: Iterable[tuple[TrajectoryReject, Rule]]) -> TrajectoryReject | None:
    """The first rule that rejects a trajectory, or ``None``."""
    return next((reason for reason, rejects in rules if rejects(trajectory)), None)


def too_few_survive(survivors: int, group_size: int, min_survivors: float) -> bool:
    """Fewer than ``ceil(min_survivors * group_size)`` are left, or none at all (spec D.3-3, D.3-4)."""
    return survivors < max(1, math.ceil(min_survivors * group_size))


def has_zero_variance(rewards: Sequence[float]) -> bool:
    """All of several rewards are equal, so that every advantage is 0; a single survivor stays (spec D.3-5)."""
    return len(rewards) > 1 and min(rewards) == max(rewards)


def rejected_trajectories(
    groups: Iterable[Group], filters: FilterConfig, decode: Decode | None = None
) -> dict[str, TrajectoryReject]:
    """Filters trajectories (spec D.3); some rules read their tokens.

    Args:
        groups: Episode and step groups as sampled.
        filters: Rules.
        decode: Needed if a rule reads text.

    Returns:
        Why a trajectory does not survive, by its id; those that do are absent.

    Raises:
        ValueError: a rule reads text, and there is no ``decode``.
    """
    rules = {kind: active_rules(kind, filters, decode) for kind in GroupKind}
    return {
        trajectory.id: reason
        for group in groups
        for trajectory in group.trajectories
        if (reason := reject_reason(trajectory, rules[group.kind])) is not None
    }


def select_groups(
    groups: Iterable[Group],
    rejected: Mapping[str, TrajectoryReject],
    filters: FilterConfig,
    *,
    divide_by_deviation: bool = True,
) -> Selection:
    """Filters groups by what is left of them, and computes the advantages of that (spec D.3, E.4).

    Reads no tokens, so that it can be done far from where these lie.

    Args:
        groups: Episode and step groups as sampled; ``len(group.trajectories)`` is G.
        rejected: What ``rejected_trajectories`` says of them.
        filters: Rules.
        divide_by_deviation: As in ``group_advantages``.
    """
    kept: list[SelectedGroup] = []
    dropped: list[Group] = []
    group_rejects: Counter[GroupReject] = Counter()
    for group in groups:
        survivors = tuple(trajectory for trajectory in group.trajectories if trajectory.id not in rejected)
        rewards = [trajectory.reward for trajectory in survivors if trajectory.reward is not None]
        if (reject := group_reject_reason(rewards, len(group.trajectories), filters)) is not None:
            group_rejects[reject] += 1
            dropped.append(replace(group, dropped=reject.value))
        else:
            advantages = tuple(group_advantages(rewards, divide_by_deviation=divide_by_deviation).tolist())
            kept.append(SelectedGroup(replace(group, trajectories=survivors), advantages))
    return Selection(tuple(kept), tuple(dropped), rejected, group_rejects)


def group_reject_reason(rewards: Sequence[float], group_size: int, filters: FilterConfig) -> GroupReject | None:
    """The first rule that rejects a group with these rewards of survivors, or ``None``."""
    if too_few_survive(len(rewards), group_size, filters.min_survivors):
        return GroupReject.TOO_FEW_SURVIVORS
    if filters.zero_variance and has_zero_variance(rewards):
        return GroupReject.ZERO_VARIANCE
    return None


def reward_missing_actions(groups: Iterable[Group], reward: float | None) -> list[Group]:
    """Step groups in which continuations that ran no program have ``reward`` (spec E.4 [N]).

    Those that *we* ended are left without one (invariant 4). ``None`` changes nothing, so that they are excluded.
    """
    return [
        replace(
            group,
            trajectories=tuple(
                each.with_reward(reward) if not each.own_steps and each.finish is not FinishReason.ABORTED else each
                for each in group.trajectories
            ),
        )
        if group.kind is GroupKind.STEP
        else group
        for group in groups
    ]


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
