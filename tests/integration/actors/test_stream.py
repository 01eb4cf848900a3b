"""The driver of the stream on real Ray actors that only lack the engine: order, staleness, loss of engines, resume."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import ray

from actors.family_tokens import Family, Outline, StoredTokens, join, part
from actors.fleet import RolloutFleet
from actors.stream import RolloutDriver, SampledFamily
from actors.supervision import RolloutActorDiedError
from learners.sequences import SampledSequence, from_groups, token_counts
from thor_ray.config import FilterConfig, validate_recipe
from thor_ray.problems import Problem
from thor_ray.selection import Selection, rejected_trajectories, select_groups
from thor_ray.stages.rollouts import StreamedRollouts
from thor_ray.stages.rollouts_checkpoint import Rejected
from thor_ray.stages.workers import Workers
from thor_ray.stream import (
    ConcurrencyRule,
    EnginePressure,
    EngineScheduler,
    ProblemCursor,
    RolloutCoordinator,
    StreamConfig,
    Ticket,
    TrajectoryStream,
    stream_state,
)
from thor_ray.stream.checkpoint import from_ranges
from thor_ray.trajectory import FinishReason, Group, GroupKind, PackedTokens, SpanKind, Tokens, TrajectoryBuilder

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROBLEMS = [Problem(f"p{index}", f"What is {index}?", str(index), "test") for index in range(10)]
PER_UPDATE, UPDATES = 3, 6
FILTERS = FilterConfig(failed_code=False)
PATIENCE = 240.0
"""Seconds; on a busy machine a process takes long to start."""


class Sampler:
    """Answers as a rollout actor does, after a random while; its tokens are of the versions before and after that.

    Problem 7 has nothing to teach.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._version = self._families = self._interrupted = 0
        self._sampling: dict[str, asyncio.Event] = {}

    async def ready(self) -> int:
        return self._version

    async def serve(self, version: int) -> None:
        self._version = version

    async def interrupted(self) -> int:
        return self._interrupted

    async def pressure(self) -> EnginePressure:
        return EnginePressure(0.1)

    async def sampling(self) -> int:
        return len(self._sampling)

    async def suspend_family(self, uid: str) -> None:
        self._sampling[uid].set()

    async def sample_in_parts(self, problem: Problem, uid: str, partial: Sequence[Group]) -> list[Group]:
        """Of three problems one lasts until it is suspended, and comes to its end when it goes on."""
        suspended = self._sampling[uid] = asyncio.Event()
        if partial:
            builder = TrajectoryBuilder.resume(partial[0].trajectories[0])
        else:
            builder = TrajectoryBuilder(f"{uid}/0", problem.id, [1])
        builder.append_sampled(SpanKind.THOUGHT, [2, 3], [-0.1, -0.2], self._version)
        if not partial and int(problem.id[1:]) % 3 == 0:
            await suspended.wait()
        del self._sampling[uid]
        finish = FinishReason.SUSPENDED if suspended.is_set() else FinishReason.ANSWERED
        return [Group(uid, GroupKind.EPISODE, problem.id, (builder.finish(finish, reward=1.0),))]

    async def sample_family(
        self,
        problem: Problem,
        uid: str,
        temper: str = "",
        partial: Family = (),
        partial_tokens: PackedTokens | None = None,
        **_: Any,
    ) -> tuple[Outline, PackedTokens]:
        """``faulty`` raises; ``mortal`` ends the process with its second family; ``endless`` never solves problem 3."""
        self._families += 1
        if temper == "long":
            resumed = () if partial_tokens is None else join(partial, partial_tokens)
            return judged(await self.sample_in_parts(problem, uid, resumed))
        if temper == "faulty":
            raise ValueError(f"{problem.id} cannot be sampled")
        if temper == "mortal" and self._families == 2:
            os._exit(1)
        if temper == "endless" and problem.id == "p3":
            try:
                await asyncio.sleep(3600)
            finally:
                self._interrupted += 1
        first = self._version
        await asyncio.sleep(self._random.uniform(0, 0.05))
        trajectories = []
        for sibling in range(2):
            builder = TrajectoryBuilder(f"{uid}/{sibling}", problem.id, [1])
            builder.append_sampled(SpanKind.THOUGHT, [2, 3], [-0.1, -0.2], first)
            builder.append_sampled(SpanKind.THOUGHT, [4], [-0.3], self._version)
            reward = float(sibling == 0 and problem.id != "p7")
            trajectories.append(builder.finish(FinishReason.ANSWERED, reward=reward))
        return judged([Group(uid, GroupKind.EPISODE, problem.id, tuple(trajectories))])


def judged(family: Sequence[Group]) -> tuple[Outline, PackedTokens]:
    """As a rollout actor returns it."""
    outline, tokens = part(family)
    return Outline(outline, rejected_trajectories(family, FILTERS)), tokens


def start_sampler(seed: int) -> Any:
    actor = ray.remote(num_cpus=0)(Sampler).remote(seed)
    ray.get(actor.ready.remote(), timeout=PATIENCE)
    return actor


@pytest.fixture(scope="module")
def samplers(ray_cluster: Any) -> Iterator[list[Any]]:
    """Two that live."""
    started = [start_sampler(seed) for seed in range(2)]
    yield started
    for each in started:
        ray.kill(each)


def select(groups: Sequence[Group], rejected: Rejected) -> Selection:
    return select_groups(groups, rejected, FILTERS)


def coordinator(max_staleness: int, per_engine: int = 2, over_sample: float | None = None) -> RolloutCoordinator:
    bounds = StreamConfig(PER_UPDATE, max_staleness, UPDATES, over_sample=over_sample)
    rule = ConcurrencyRule(initial=per_engine, maximum=per_engine)
    return RolloutCoordinator(TrajectoryStream(bounds, ProblemCursor(len(PROBLEMS), 0)), EngineScheduler(rule))


def nothing_to_teach(family: SampledFamily) -> str | None:
    return None if select(family.groups, family.rejected).kept else "zero_variance"


def drive(
    actors: Sequence[Any], max_staleness: int, temper: str = ""
) -> tuple[list[list[SampledFamily]], dict[str, Any]]:
    """Runs all updates; the families of each, and the stream's state at the end."""

    def request(ticket: Ticket) -> Mapping[str, Any]:
        return {"problem": PROBLEMS[ticket.problem], "temper": temper}

    taken = []
    serve(actors, 0)
    named = {f"engine-{index}": actor for index, actor in enumerate(actors)}
    with RolloutDriver(coordinator(max_staleness), named, request, nothing_to_teach) as driver:
        for version in range(UPDATES):
            families = driver.take()
            taken.append(families)
            driver.settle({})
            serve(driver.engines.values(), version + 1)
            driver.published(version + 1)
            assert_staleness_held(families, version, max_staleness)
        state, _ = driver.snapshot(lambda each: stream_state(each.stream))
    return taken, state


def serve(actors: Iterable[Any], version: int) -> None:
    ray.get([actor.serve.remote(version) for actor in actors], timeout=PATIENCE)


def assert_staleness_held(families: Sequence[SampledFamily], version: int, max_staleness: int) -> None:
    for family in families:
        versions = {int(v) for group in family.groups for t in group.trajectories for v in t.versions[t.loss_mask()]}
        assert family.filtered or version - min(versions) <= max_staleness


def assert_nothing_lost_or_repeated(taken: list[list[SampledFamily]], state: dict[str, Any]) -> None:
    """Every admitted group trained once, or was dropped once with a reason, or is in flight (invariant 6)."""
    trained = [int(family.uid[1:]) for families in taken for family in families if not family.filtered]
    assert sorted(trained) == from_ranges(state["trained"])
    dropped = [sequence for sequence, _, reason, _ in state["dropped"] if reason]
    in_flight = [entry["sequence"] for entry in state["in_flight"]]
    assert sorted([*trained, *dropped, *in_flight]) == list(range(state["admitted"]))


def trained(taken: Sequence[Sequence[SampledFamily]]) -> list[list[str]]:
    return [[family.uid for family in families if not family.filtered] for families in taken]


def test_every_update_gets_its_families_and_none_is_lost_or_repeated(samplers):
    taken, state = drive(samplers, max_staleness=2)
    assert list(map(len, trained(taken))) == [PER_UPDATE] * UPDATES
    assert_nothing_lost_or_repeated(taken, state)
    filtered = [family for families in taken for family in families if family.filtered]
    assert {PROBLEMS[family.problem].id for family in filtered} == {"p7"}
    assert Counter(reason for _, _, reason, _ in state["dropped"])["zero_variance"] == len(filtered)


def refuse(tokens: StoredTokens) -> Tokens:
    raise AssertionError(f"the driver reads {tokens}")


def test_the_driver_selects_and_plans_without_reading_a_token(samplers, monkeypatch):
    """They go from the actors that sampled them to those that need them; the driver has outlines and references."""
    serve(samplers, 0)
    request = {"rounds": UPDATES, "groups_per_round": PER_UPDATE, "step_level": False}
    recipe = validate_recipe({"rl": {**request, "stream": {"max_staleness": 2, "refill": True}}}, "test")
    workers = Workers(RolloutFleet(samplers), cast("Any", Codec()), cast("Any", Learner()))
    sequences = list[SampledSequence]()
    with monkeypatch.context() as patched, StreamedRollouts(workers, PROBLEMS, recipe, select, None) as rollouts:
        patched.setattr(StoredTokens, "load", refuse)
        for index in range(UPDATES):
            selection = select((sampled := rollouts.take(index)).groups, sampled.rejected)
            sequences += from_groups(selection.kept)
            assert token_counts(sequences)[GroupKind.EPISODE].tokens == 3 * len(sequences)
            rollouts.settle(selection, {})
            serve(samplers, index + 1)
            rollouts.published(index + 1)
    assert [each.load().ids.tolist() for each in sequences] == [[1, 2, 3, 4]] * len(sequences)
    assert len(sequences) == 2 * PER_UPDATE * UPDATES


def test_what_runs_until_it_is_too_old_is_interrupted_and_dropped(samplers):
    taken, state = drive(samplers, 1, "endless")
    assert list(map(len, trained(taken))) == [PER_UPDATE] * UPDATES
    assert_nothing_lost_or_repeated(taken, state)
    stale = [PROBLEMS[problem].id for _, problem, reason, _ in state["dropped"] if reason == "stale"]
    assert "p3" in stale
    deadline = time.monotonic() + PATIENCE
    while not any(ray.get([each.interrupted.remote() for each in samplers], timeout=PATIENCE)):
        assert time.monotonic() < deadline, "the engine goes on with what nobody waits for"
        time.sleep(0.01)


def test_the_tail_is_cut_and_goes_on_from_its_tokens_while_engines_rest_for_the_learner(samplers):
    """Checked in the midst of each round: nothing is sampled, and what was suspended is kept for a checkpoint."""
    serve(samplers, 0)
    taken, kept = [], list[SampledFamily]()
    # For the last update none is begun but those that it takes, and a long one would never be suspended.
    rounds = UPDATES - 1

    def request(ticket: Ticket) -> Mapping[str, Any]:
        return {"problem": PROBLEMS[ticket.problem], "temper": "long"}

    named = {f"engine-{index}": actor for index, actor in enumerate(samplers)}
    with RolloutDriver(coordinator(1, per_engine=3, over_sample=2.0), named, request) as driver:
        for version in range(rounds):
            taken.append(driver.take())
            assert ray.get([each.sampling.remote() for each in samplers], timeout=PATIENCE) == [0, 0]
            _, families = driver.snapshot(lambda each: None)
            kept += [family for family in families if family.suspended]
            driver.settle({})
            serve(samplers, version + 1)
            driver.published(version + 1)
            assert_staleness_held(taken[-1], version, 1)
        state, _ = driver.snapshot(lambda each: stream_state(each.stream))
    assert list(map(len, taken)) == [PER_UPDATE] * rounds
    assert_nothing_lost_or_repeated(taken, state)
    learnt = {family.uid: family.groups[0].trajectories[0] for families in taken for family in families}
    resumed = [(family.groups[0].trajectories[0], learnt[family.uid]) for family in kept if family.uid in learnt]
    assert resumed, "nothing was suspended and learnt from later"
    for before, after in resumed:
        assert after.ids[: len(before.ids)] == before.ids
        assert after.versions[: len(before.ids)].tolist() == before.versions.tolist()
        assert after.loss_mask().sum() == before.loss_mask().sum() + 2


def test_an_engine_that_dies_costs_no_group_and_no_order(samplers):
    """With no staleness, so that what is trained does not depend on who sampled it."""
    undisturbed, _ = drive(samplers, 0)
    disturbed, state = drive([start_sampler(2), samplers[0]], 0, "mortal")
    assert trained(disturbed) == trained(undisturbed)
    assert_nothing_lost_or_repeated(disturbed, state)


def test_without_an_engine_the_run_ends_and_says_which_was_the_last(ray_cluster):
    with pytest.raises(RolloutActorDiedError, match="no rollout actor is left; the last one, engine-0, ended"):
        drive([start_sampler(3)], 1, "mortal")


def test_a_fault_of_ours_is_raised_and_not_repeated_elsewhere(samplers):
    with pytest.raises(ValueError, match="cannot be sampled"):
        drive(samplers, 1, "faulty")


class Learner:
    """All that rollouts ask of a learner."""

    version = 0


class Codec:
    """Rules that read text are off, but rollouts know how they would."""

    def decode(self, ids: Sequence[int]) -> str:
        raise AssertionError(f"nothing asks for the text of {ids}")


def test_a_resumed_stream_goes_on_with_what_was_sampled_and_repeats_nothing(samplers, tmp_path):
    recipe = validate_recipe(
        {
            "rl": {
                "rounds": UPDATES,
                "groups_per_round": PER_UPDATE,
                "step_level": False,
                "stream": {"max_staleness": 2, "refill": True},
            }
        },
        "test",
    )
    serve(samplers, 0)
    workers = Workers(RolloutFleet(samplers), cast("Any", Codec()), cast("Any", Learner()))
    learnt: list[str] = []

    def rounds(first: int, last: int, saved: Path | None, place: Path) -> None:
        with StreamedRollouts(workers, PROBLEMS, recipe, select, saved) as rollouts:
            for index in range(first, last):
                sampled = rollouts.take(index)
                selection = select(sampled.groups, sampled.rejected)
                learnt.extend(each.group.uid for each in selection.kept)
                rollouts.settle(selection, {})
                serve(samplers, index + 1)
                rollouts.published(index + 1)
                assert sampled.figures["staleness_worst"] <= 2
            rollouts.save(place)

    rounds(0, 2, None, tmp_path / "2")
    rounds(2, 3, tmp_path / "2", tmp_path / "3")
    rounds(3, UPDATES, tmp_path / "3", tmp_path / "end")
    assert len(learnt) == len(set(learnt)) == PER_UPDATE * UPDATES
