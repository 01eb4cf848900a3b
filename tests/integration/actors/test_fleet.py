"""The fleet on real Ray actors that only lack the engine: order, homes, and what becomes of actors that hang or die."""

import asyncio
import dataclasses
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from actors.fleet import Call, RolloutFleet, RolloutStalledError
from actors.supervision import RolloutActorDiedError
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    SpanKind,
    TrajectoryBuilder,
)

FAILED = ExecutionResult(ExecutionStatus.EXCEPTION, "NameError", "NameError")


class Sampler:
    """Answers as a rollout actor does, after a random while; the last token of its trajectories is its number.

    The problem's question tells what happens: ``hang``, ``die`` and ``raise`` do so, ``3.5`` is answered after as many
    seconds, anything else soon.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._random = random.Random(number)

    async def ready(self) -> int:
        return self._number

    async def rollout_group(self, problem: Problem, uid: str, group_size: int) -> Group:
        await asyncio.sleep(self._random.uniform(0, 0.1))
        match problem.question:
            case "hang":
                await asyncio.sleep(3600)
            case "die":
                os._exit(1)
            case "raise":
                raise ValueError(f"{problem.id} cannot be sampled")
            case seconds if seconds[0].isdigit():
                await asyncio.sleep(float(seconds))
        builders = [TrajectoryBuilder(f"{uid}/{sibling}", problem.id, [1]) for sibling in range(group_size)]
        for builder in builders:
            builder.append_sampled(SpanKind.THOUGHT, [2, 3], [-0.1, -0.2], 0)
            action = builder.append_sampled(SpanKind.ACTION, [4], [-0.3], 0)
            builder.close_step(action, builder.append_written(SpanKind.OBSERVATION, [5]), "x", FAILED)
        return self._finished(uid, GroupKind.EPISODE, problem.id, builders)

    async def continue_step(self, parent: Any, step_index: int, uid: str, group_size: int) -> Group:
        await asyncio.sleep(self._random.uniform(0, 0.1))
        cut = parent.steps[step_index].thought.end
        builders = [
            TrajectoryBuilder.branch(f"{uid}/{sibling}", parent, step_index, cut) for sibling in range(group_size)
        ]
        return self._finished(uid, GroupKind.STEP, parent.problem_id, builders)

    def _finished(self, uid: str, kind: GroupKind, problem_id: str, builders: list[TrajectoryBuilder]) -> Group:
        for builder in builders:
            builder.append_sampled(SpanKind.ANSWER, [100 + self._number], [-0.5], 0)
        return Group(uid, kind, problem_id, tuple(builder.finish(FinishReason.ANSWERED) for builder in builders))


def sampler_of(group: Group) -> int:
    """The number of the actor that made a group."""
    (number,) = {trajectory.ids[-1] - 100 for trajectory in group.trajectories}
    return number


def started(count: int) -> list[Any]:
    actors = [ray.remote(num_cpus=0, max_restarts=0)(Sampler).remote(number) for number in range(count)]
    assert ray.get([actor.ready.remote() for actor in actors]) == list(range(count))
    return actors


@pytest.fixture(scope="module")
def samplers(ray_cluster: Any) -> Iterator[list[Any]]:
    """Three actors for all tests but the one that kills its own: a group that hangs keeps no other waiting."""
    actors = started(3)
    yield actors
    for actor in actors:
        ray.kill(actor)


def problems(*questions: str) -> list[Problem]:
    return [Problem(f"p{index}", question, "1", "test") for index, question in enumerate(questions)]


def uids(count: int, level: str = "e") -> list[str]:
    return [f"r0/{level}{index}" for index in range(count)]


def test_groups_come_back_in_the_order_asked_for_and_are_announced_as_they_are_finished(samplers):
    fleet, heard = RolloutFleet(samplers), list[Group]()
    asked = problems(*["fine"] * 24)
    groups = fleet.episode_groups(asked, uids(24), heard.append, group_size=2)
    assert [group.uid for group in groups] == uids(24)
    assert [group.problem_id for group in groups] == [problem.id for problem in asked]
    assert [sampler_of(group) for group in groups] == [0, 1, 2] * 8
    assert sorted(group.uid for group in heard) == sorted(uids(24))
    assert [group.uid for group in heard] != uids(24), "all of them waited for the first"


def test_nothing_asked_is_nothing_answered(samplers):
    fleet = RolloutFleet(samplers)
    assert fleet.episode_groups([], [], group_size=2) == []
    assert fleet.step_groups([], [], group_size=2) == []


def test_every_group_needs_a_uid(samplers):
    with pytest.raises(ValueError, match="shorter"):
        RolloutFleet(samplers).episode_groups(problems("fine", "fine"), uids(1), group_size=2)


def test_continuations_go_where_their_parent_was_sampled(samplers):
    """That engine holds the prefix's keys and values."""
    fleet = RolloutFleet(samplers)
    episodes = fleet.episode_groups(problems(*["fine"] * 6), uids(6), group_size=2)
    parents = [(trajectory, 0) for group in reversed(episodes) for trajectory in group.trajectories]
    steps = fleet.step_groups(parents, uids(12, "s"), group_size=3)
    assert [group.uid for group in steps] == uids(12, "s")
    assert [sampler_of(group) for group in steps] == [
        sampler_of(group) for group in reversed(episodes) for _ in group.trajectories
    ]
    for (parent, _), group in zip(parents, steps, strict=True):
        assert {branch.parent.trajectory_id for branch in group.trajectories if branch.parent} == {parent.id}


def test_an_actor_that_hangs_is_named_with_what_it_owes(samplers):
    fleet, heard = RolloutFleet(samplers, stall_seconds=2.0), list[Group]()
    asked = problems("fine", "hang", "fine", "fine", "hang", "fine")
    started = time.monotonic()
    with pytest.raises(RolloutStalledError, match=r"no group was finished for 2 s; rollout actors \[1\] owe 2"):
        fleet.episode_groups(asked, uids(6), heard.append, group_size=2)
    assert 2.0 < time.monotonic() - started < 30
    assert sorted(group.uid for group in heard) == ["r0/e0", "r0/e2", "r0/e3", "r0/e5"]


def test_a_slow_group_is_no_stall_while_others_come_in(samplers):
    """Only silence of the whole fleet counts: one trajectory may well take longer than that."""
    fleet = RolloutFleet(samplers, stall_seconds=2.5)
    seconds = ("4", "0.5", "1", "1.5", "2", "2.5", "3", "3.5")
    assert len(fleet.episode_groups(problems(*seconds), uids(8), group_size=1)) == 8


def test_the_death_of_an_actor_surfaces(ray_cluster):
    alive, dying = started(2)
    with pytest.raises(RolloutActorDiedError, match=r"rollout actor 1 died: "):
        RolloutFleet([alive, dying]).episode_groups(problems("fine", "die"), uids(2), group_size=2)
    ray.kill(alive)


def test_an_error_in_an_actor_surfaces_with_its_message(samplers):
    with pytest.raises(ValueError, match="p1 cannot be sampled"):
        RolloutFleet(samplers).episode_groups(problems("fine", "raise", "fine"), uids(3), group_size=2)


def calls(*seconds: float) -> list[Call]:
    return [
        Call(index, "rollout_group", {"problem": each, "uid": f"s{index}", "group_size": 1})
        for index, each in enumerate(problems(*map(str, seconds)))
    ]


def test_what_has_no_home_is_done_once_each_by_whoever_has_room(samplers):
    """One that is slow keeps the few that it has begun; the others do the rest."""
    fleet = RolloutFleet(samplers, room=2)
    asked = [
        *(Call(f"slow{n}", "rollout_group", {"problem": slow, "uid": f"slow{n}", "group_size": 1}, home=None)
          for n, slow in enumerate(problems("3", "3"))),
        *calls(*[0.05] * 40),
    ]  # fmt: skip
    done = list(fleet.stream(asked))
    assert sorted(str(each.call.key) for each in done) == sorted(str(call.key) for call in asked)
    assert {done[-1].call.key, done[-2].call.key} == {"slow0", "slow1"}, "somebody waited for the slow ones"
    assert all(each.started_at < each.ended_at for each in done)


def test_no_actor_is_given_more_than_it_has_room_for(samplers):
    """What has not been given away stays with the caller, who may still lose interest in it."""
    taken = 0

    def counted() -> Iterator[Call]:
        nonlocal taken
        for call in calls(*[0.2] * 30):
            taken += 1
            yield call

    stream = RolloutFleet(samplers, room=2).stream(counted())
    next(stream)
    assert taken <= 3 * 2 + 1
    for received, _ in enumerate(stream, start=2):
        assert taken - received <= 3 * 2 + 1
    assert taken == 30


def test_a_home_is_kept_whatever_room_there_is(samplers):
    pinned = [dataclasses.replace(call, home=1) for call in calls(*[0.01] * 8)]
    assert {each.actor for each in RolloutFleet(samplers, room=1).stream(pinned)} == {1}
