"""Engines and learners that share GPUs: never both at work, and what is served is always what was published last."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors.engine_sleep import Sleep
from learners.sequences import SampledSequence
from tests.support.selection import select
from thor_ray.config import FilterConfig, validate_recipe
from thor_ray.selection import Selection
from thor_ray.stages.hierarchical_rl import learn
from thor_ray.stages.rollouts import Sampled
from thor_ray.stages.workers import Workers
from thor_ray.trajectory import FinishReason, Group, GroupKind, SpanKind, TrajectoryBuilder

ENGINE = {"weights": 2, "kv_cache": 5}
MODEL, OPTIMIZER, BUCKETS = 2, 6, 1
MEMORY = 10
"""Fits either role with what the other leaves there; nothing else does, all of an engine beside a rank's optimizer least."""

RECIPE = validate_recipe({"rl": {"updates_per_round": 2}}, "test")


class Gpu:
    """One GPU that counts its memory and writes down what happens on it.

    Engine, rank and supervisor below stand in for vLLM, DeepSpeed and Ray; how an engine wakes is the real `Sleep`.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._used = sum(ENGINE.values()) + MODEL

    def note(self, call: str, size: int = 0) -> None:
        self.calls.append(call)
        self._used += size
        assert self._used <= MEMORY, f"out of memory after {self.calls}"


class Engine:
    """vLLM's calls, and an update in the order of `VllmEngine.update_weights`."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self.served = gpu, 0
        self.slumber = Sleep(cast("Any", self))

    async def sleep(self, level: int, mode: str) -> None:
        self._gpu.note("sleep", -sum(ENGINE.values()))

    async def wake_up(self, tags: list[str]) -> None:
        for tag in tags:
            self._gpu.note(tag, ENGINE[tag])

    def receive(self, weights: int) -> None:
        asyncio.run(self.slumber.end("weights"))
        self._gpu.note("load", BUCKETS)
        self._gpu.note("loaded", -BUCKETS)
        self.served = weights
        asyncio.run(self.slumber.end("kv_cache"))

    def generate(self) -> int:
        self.slumber.require_awake()
        return self.served


class Supervisor:
    """Of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sleep(self) -> None:
        asyncio.run(self._engine.slumber.begin())

    def wake_up(self) -> None:
        asyncio.run(self._engine.slumber.end("kv_cache"))

    def deliver(self, send: Any) -> None:
        send([self._engine])


class Learners:
    """A rank whose weights are the number of its updates."""

    version, skipped = 0, ()

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self._resident, self.updates = gpu, False, 0

    def reload_states(self) -> None:
        if not self._resident:
            self._gpu.note("reload", OPTIMIZER)
            self._resident = True

    def offload_states(self) -> None:
        if self._resident:
            self._gpu.note("offload", -OPTIMIZER)
            self._resident = False

    def with_proximal_log_probs(self, sequences: Sequence[SampledSequence]) -> list[SampledSequence]:
        self._gpu.note("proximal")
        return [each.with_proximal_log_probs(np.zeros(len(each), np.float32)) for each in sequences]

    def mismatch(self, sequences: Sequence[SampledSequence]) -> dict[str, float]:
        return {}

    def update(self, sequences: object = ()) -> dict[str, float]:
        assert self._resident, "the optimizer is not there"
        self._gpu.note("update")
        self.updates += 1
        return {"skipped": 0.0}

    def publish(self, engines: Sequence[Engine]) -> None:
        for engine in engines:
            engine.receive(self.updates)
            assert engine.generate() == self.updates, "verification asks the engine for log-probs"


class Fleet:
    """Rollout actors, as far as `Workers` knows of them."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor


def started(*, share_gpus: bool = True) -> tuple[Gpu, Engine, Learners, Workers]:
    gpu = Gpu()
    engine, learners = Engine(gpu), Learners(gpu)
    fleet = Fleet(Supervisor(engine))
    workers = Workers(cast("Any", fleet), cast("Any", None), cast("Any", learners), share_gpus=share_gpus)
    return gpu, engine, learners, workers


class Settled:
    """Rollouts that take no notice."""

    def settle(self, selection: Selection, unlearnt: object) -> None:
        assert unlearnt == {}


def selection(groups: int) -> Selection:
    """So many groups that all train."""
    found = [
        Group(
            f"g{number}", GroupKind.EPISODE, "p", tuple(trajectory(f"g{number}/{reward}", reward) for reward in (0, 1))
        )
        for number in range(groups)
    ]
    return select(found, FilterConfig(failed_code=False, min_survivors=0.0), lambda ids: "")


def trajectory(name: str, reward: float) -> Any:
    builder = TrajectoryBuilder(name, "p", [1])
    builder.append_sampled(SpanKind.ANSWER, [2, 3], [-0.5, -0.5], 0)
    return builder.finish(FinishReason.ANSWERED, reward=reward)


def round_of(workers: Workers, chosen: Selection) -> None:
    nothing = Sampled([], [], [], seconds=0.0, waited=0.0)
    learn(workers, cast("Any", Settled()), 0, nothing, chosen, RECIPE)


def test_a_round_learns_while_the_engine_sleeps_and_wakes_it_by_parts_for_its_new_weights():
    gpu, engine, learners, workers = started()
    round_of(workers, selection(2))
    learnt = ["sleep", "reload", "proximal", *["update"] * learners.updates]
    assert gpu.calls == [*learnt, "offload", "weights", "load", "loaded", "kv_cache"]
    assert engine.generate() == learners.updates == 2


def test_a_round_with_nothing_to_learn_wakes_the_engine_with_the_weights_that_it_had():
    gpu, engine, learners, workers = started()
    round_of(workers, selection(2))
    gpu.calls.clear()
    round_of(workers, selection(0))
    assert gpu.calls == ["sleep", "reload", "offload", "weights", "kv_cache"]
    assert engine.generate() == learners.updates == 2


def test_with_gpus_of_their_own_nobody_rests():
    gpu, engine, learners, workers = started(share_gpus=False)
    learners._resident = True
    round_of(workers, selection(2))
    workers.engines_turn()
    assert gpu.calls == ["proximal", "update", "update", "load", "loaded"]
    assert engine.generate() == 2


class AnyOrder(RuleBasedStateMachine):
    """Cold start, rounds and evaluations in whichever order: memory suffices, and the last publication is served."""

    @initialize()
    def start(self) -> None:
        self.gpu, self.engine, self.learners, self.workers = started()
        self.published, self.learning = 0, False

    @rule()
    def learners_turn(self) -> None:
        self.workers.learners_turn()
        self.learning = True

    @rule()
    def engines_turn(self) -> None:
        self.workers.engines_turn()
        self.learning = False

    @precondition(lambda self: self.learning)
    @rule(updates=st.integers(1, 3))
    def update(self, updates: int) -> None:
        for _ in range(updates):
            self.learners.update()

    @rule()
    def publish(self) -> None:
        self.workers.publish()
        self.published, self.learning = self.learners.updates, False

    @precondition(lambda self: not self.learning)
    @rule()
    def sample(self) -> None:
        assert self.engine.generate() == self.published


TestAnyOrder = AnyOrder.TestCase
