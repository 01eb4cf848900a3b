"""Engines that die or hang in the middle of a round, on real Ray actors that only lack the engine itself."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
import ray

from actors.family_tokens import Outline, part
from actors.fleet import RolloutFleet
from actors.supervision import EngineSupervisor, Repair, RolloutActorDiedError
from thor_ray.config import FilterConfig, LivenessConfig, RestartConfig, validate_recipe
from thor_ray.errors import WorkerError
from thor_ray.problems import Problem
from thor_ray.selection import Selection, select_groups
from thor_ray.stages.rollouts import StreamedRollouts
from thor_ray.stages.rollouts_checkpoint import Rejected
from thor_ray.stages.workers import Workers
from thor_ray.stream import EnginePressure
from thor_ray.trajectory import FinishReason, Group, GroupKind, PackedTokens, SpanKind, TrajectoryBuilder

# Ray's workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROBLEMS = [Problem(f"p{index}", f"What is {index}?", str(index), "test") for index in range(12)]
QUICK = RestartConfig(most=3, delay_seconds=0.1)
IMPATIENT = LivenessConfig(silence_seconds=2, token_seconds=20)
PATIENCE = 240.0
"""Seconds; on a busy machine a process takes long to start."""


class Sampler:
    """Answers as a rollout actor does; what it samples depends on the group's uid alone. Starts without torch, quickly.

    Args:
        version: Of the weights that it serves; ``None`` awaits them, and refuses prompts until then.
        fate: What becomes of it with its third group: ``dies``, ``hangs``, or nothing. ``stillborn`` ends at once, and
            ``dies asleep`` when it is to wake.
    """

    def __init__(self, version: int | None, fate: str = "") -> None:
        if fate == "stillborn":
            raise RuntimeError("there is no engine to start")
        self._version, self._fate, self._groups, self._asleep = version, fate, 0, False

    async def ready(self) -> int | None:
        return self._version

    async def serve(self, version: int) -> None:
        if self._fate == "dies of weights":
            os._exit(1)
        await self.wake_up()
        self._version = version

    async def sleep(self) -> None:
        self._asleep = True

    async def wake_up(self) -> None:
        if self._fate == "dies asleep":
            os._exit(1)
        self._asleep = False

    async def asleep(self) -> bool:
        return self._asleep

    async def rollout_group(self, uid: str, problem: Problem) -> Group:
        if self._version is None:
            raise RuntimeError("it has no weights")
        if self._asleep:
            raise RuntimeError("it sleeps")
        self._groups += 1
        if self._groups == 3 and self._fate == "dies":
            os._exit(1)
        if self._groups == 3 and self._fate == "hangs":
            os.kill(os.getpid(), signal.SIGSTOP)
        await asyncio.sleep(0.01)
        trajectories = []
        for sibling in range(2):
            builder = TrajectoryBuilder(f"{uid}/{sibling}", problem.id, [1])
            builder.append_sampled(SpanKind.THOUGHT, [2, 3], [-0.1, -0.2], self._version)
            trajectories.append(builder.finish(FinishReason.ANSWERED, reward=float(sibling)))
        return Group(uid, GroupKind.EPISODE, problem.id, tuple(trajectories))

    async def sample_family(self, uid: str, problem: Problem, **_: Any) -> tuple[Outline, PackedTokens]:
        family, tokens = part([await self.rollout_group(uid, problem)])
        return Outline(family), tokens

    async def pressure(self) -> EnginePressure:
        return EnginePressure(kv_usage=0.7)


def started(version: int | None, fate: str = "") -> Any:
    return ray.remote(num_cpus=0, max_restarts=0)(Sampler).remote(version, fate)


class Learner:
    """All that rollouts ask of a learner, and what engines got from it."""

    def __init__(self) -> None:
        self.version = 0
        self.brought: list[tuple[int, int]] = []

    def publish(self, actors: Sequence[Any]) -> int:
        self._bring(actors, self.version + 1)
        self.version += 1
        return self.version

    def publish_again(self, actors: Sequence[Any]) -> int:
        self._bring(actors, self.version)
        return self.version

    def _bring(self, actors: Sequence[Any], version: int) -> None:
        try:
            ray.get([actor.serve.remote(version) for actor in actors], timeout=PATIENCE)
        except ray.exceptions.RayActorError as error:
            raise WorkerError("an engine died while it received weights") from error
        self.brought.append((version, len(actors)))


MakeFleet = Callable[..., RolloutFleet]


@pytest.fixture
def fleet(ray_cluster: Any) -> Iterator[MakeFleet]:
    """Makes fleets of engines with the given fates, and of those that replace them."""
    made: list[RolloutFleet] = []

    def make(
        learner: Learner,
        fates: Sequence[str],
        later: Sequence[str] = (),
        restarts: RestartConfig = QUICK,
        liveness: LivenessConfig | None = None,
    ) -> RolloutFleet:
        successors = iter(later)
        actors = [started(learner.version, fate) for fate in fates]
        ray.get([actor.ready.remote() for actor in actors], timeout=PATIENCE)
        repair = Repair(lambda place: started(None, next(successors, "")), learner.publish_again, restarts)
        made.append(RolloutFleet(actors, repair=repair, liveness=liveness))
        return made[-1]

    yield make
    for each in made:
        for engine in each.supervisor.serving:
            ray.kill(engine.actor)


def versions(groups: Sequence[Group]) -> set[int]:
    return {int(v) for group in groups for t in group.trajectories for v in t.versions[t.loss_mask()]}


def round_of(fleet: RolloutFleet, index: int = 0) -> list[Group]:
    return fleet.episode_groups(PROBLEMS, [f"r{index}/e{number}" for number in range(len(PROBLEMS))])


def test_a_round_goes_on_with_an_engine_that_replaces_the_dead_and_has_its_weights(fleet):
    learner = Learner()
    learner.version = 7
    several = fleet(learner, ["", "dies"])
    groups = round_of(several)
    assert [group.uid for group in groups] == [f"r0/e{number}" for number in range(len(PROBLEMS))]
    assert [group.problem_id for group in groups] == [problem.id for problem in PROBLEMS]
    alone = fleet(learner, ["dies"])
    assert [group.uid for group in round_of(alone)] == [group.uid for group in groups]
    # Nobody but the replacement could finish, and it refuses prompts without weights.
    assert learner.brought[-1] == (7, 1)
    assert versions(round_of(alone, 1)) == {7}
    assert [engine.name for engine in alone.supervisor.serving] == ["engine-0.1"]


def test_an_engine_that_hangs_is_found_by_the_token_that_it_owes_and_replaced(fleet):
    hung = fleet(Learner(), ["hangs"], liveness=IMPATIENT, restarts=RestartConfig(most=9, delay_seconds=0.1))
    assert len(round_of(hung)) == len(PROBLEMS)
    assert hung.supervisor.restarts >= 1


def test_once_the_budget_is_spent_the_run_ends_with_the_cause(fleet):
    doomed = fleet(Learner(), ["dies"], ["stillborn", "stillborn"], RestartConfig(most=2, delay_seconds=0.1))
    with pytest.raises(
        RolloutActorDiedError, match=r"no rollout actor is left; the last one, engine-0\.2, ended: "
    ) as end:
        round_of(doomed)
    assert "there is no engine to start" in str(end.value)


def test_what_kills_every_engine_is_named(fleet):
    """Rather than started again until no engine is left."""
    deadly = fleet(Learner(), ["dies"], ["dies", "dies", "dies"])
    with pytest.raises(RolloutActorDiedError, match=r"r0/e\d+ was lost with 3 engines; lastly, rollout actor 0 died"):
        round_of(deadly)


def test_a_version_reaches_whoever_lives_where_an_engine_dies_of_it(fleet):
    learner = Learner()
    some = fleet(learner, ["", "dies of weights"])
    assert some.supervisor.deliver(learner.publish) == learner.version == 1
    assert learner.brought[0] == (1, 1)
    assert versions(round_of(some)) == {1}
    only = fleet(learner, ["dies of weights"])
    assert only.supervisor.deliver(learner.publish) == 2
    assert versions(round_of(only, 1)) == {2}


def test_a_failure_that_no_engine_is_to_blame_for_is_not_repeated(fleet):
    calls: list[int] = []

    def fail(actors: Sequence[Any]) -> None:
        calls.append(len(actors))
        raise WorkerError("learner rank 0 died")

    with pytest.raises(WorkerError, match="learner rank 0 died"):
        fleet(Learner(), ["", ""]).supervisor.deliver(fail)
    assert calls == [2]


def asleep(supervisor: EngineSupervisor) -> list[bool]:
    return list(ray.get([engine.actor.asleep.remote() for engine in supervisor.serving], timeout=PATIENCE))


def test_none_is_started_while_others_sleep_and_whoever_replaces_the_dead_gets_current_weights(fleet):
    learner = Learner()
    some = fleet(learner, ["", ""], restarts=RestartConfig(most=3, delay_seconds=0))
    supervisor = some.supervisor
    supervisor.sleep()
    assert asleep(supervisor) == [True, True]
    supervisor.lost("engine-1", "its node was lost")
    supervisor.mend()
    assert (supervisor.restarts, supervisor.starting) == (0, []), "it would take the learner's memory"
    assert supervisor.deliver(learner.publish) == 1
    assert asleep(supervisor)[0] is False
    assert versions(round_of(some)) == {1}
    assert supervisor.restarts == 1


def test_an_engine_that_comes_up_when_others_are_to_sleep_sleeps_too_and_is_still_owed_its_weights(fleet):
    learner = Learner()
    learner.version = 4
    some = fleet(learner, ["", ""], restarts=RestartConfig(most=3, delay_seconds=0))
    supervisor = some.supervisor
    supervisor.lost("engine-1", "its node was lost")
    assert supervisor.starting
    supervisor.sleep()
    assert not supervisor.starting, "it would go on to take the learner's memory"
    assert len(supervisor.serving) == 1
    supervisor.wake_up()
    supervisor.mend()
    assert learner.brought == [(4, 1)]
    assert asleep(supervisor) == [False, False]
    assert versions(round_of(some)) == {4}


@pytest.mark.parametrize("publishes", [True, False])
def test_an_engine_that_does_not_wake_is_replaced(fleet, publishes):
    learner = Learner()
    only = fleet(learner, ["dies asleep"])
    only.supervisor.sleep()
    if publishes:
        only.supervisor.deliver(learner.publish)
    else:
        only.supervisor.wake_up()
    assert versions(round_of(only)) == {learner.version} == {int(publishes)}
    assert only.supervisor.restarts == 1


ROUNDS, PER_ROUND = 4, 3


def select(groups: Sequence[Group], rejected: Rejected) -> Selection:
    return select_groups(groups, rejected, FilterConfig(failed_code=False))


def streamed(fleet: RolloutFleet, learner: Learner, liveness: LivenessConfig) -> list[str]:
    """Runs asynchronous rounds; uids in the order in which they trained."""
    tree = {
        "engine": {"liveness": liveness.model_dump()},
        "rl": {"rounds": ROUNDS, "groups_per_round": PER_ROUND, "step_level": False, "stream": {"max_staleness": 2}},
    }
    workers = Workers(fleet, cast("Any", None), cast("Any", learner))
    trained = []
    with StreamedRollouts(workers, PROBLEMS, validate_recipe(tree, "test"), select, None) as rollouts:
        for index in range(ROUNDS):
            sampled = rollouts.take(index)
            selection = select(sampled.groups, sampled.rejected)
            trained += [each.group.uid for each in selection.kept]
            assert all(learner.version - version <= 2 for version in versions(sampled.groups))
            rollouts.settle(selection, {})
            rollouts.published(cast("int", workers.publish()))
    return trained


@pytest.mark.parametrize("fate", ["dies", "hangs", "dies of weights"])
def test_a_stream_goes_on_whatever_becomes_of_its_only_engine(fleet, fate):
    """The rounds that an undisturbed run would train: no group is lost or repeated."""
    learner = Learner()
    liveness = IMPATIENT if fate == "hangs" else LivenessConfig()
    one = fleet(learner, [fate], restarts=RestartConfig(most=9, delay_seconds=0.1), liveness=liveness)
    trained = streamed(one, learner, liveness)
    assert len(trained) == len(set(trained)) == ROUNDS * PER_ROUND
    assert sorted(trained) == [f"g{number:06d}" for number in range(ROUNDS * PER_ROUND)]
    assert learner.version == ROUNDS
    assert one.supervisor.restarts >= 1
