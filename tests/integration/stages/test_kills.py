"""Processes that are killed or stopped in the middle of a round of the real loop: the same groups train all the same.

The learning rate is 0, so that weights, and with them all that is sampled, are the same in every run.
"""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from learners.group import LearnerGroup
from learners.ranks import ActorCallError
from tests.support.small_loop import GROUPS, ROUNDS, SIBLINGS, recorded, small_recipe, train, trained
from thor_ray.records import Record, Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.resumption import StageCheckpoints
from thor_ray.stages.workers import Workers, started_workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workers(ray_cluster: Any, tiny_policies: Any) -> Iterator[Workers]:
    """An engine and a learner; what becomes of the engine is up to the tests."""
    with started_workers(small_recipe(tiny_policies.taught), tiny_policies.taught) as started:
        yield started


def run(workers: Workers, policy: Path, path: Path, **rl: Any) -> list[Record]:
    recipe = small_recipe(policy, **rl)
    with RunLog.create(path, recipe, "train") as log:
        return train(workers, recipe, log)


@pytest.fixture(scope="module")
def undisturbed(workers: Workers, tiny_policies: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ids of the trajectories that train where nothing is killed."""
    ids = trained(run(workers, tiny_policies.taught, tmp_path_factory.mktemp("runs") / "undisturbed"))
    assert len(ids) == len(set(ids)) == ROUNDS * GROUPS * SIBLINGS
    return ids


def process_of(actor: Any) -> psutil.Process:
    return psutil.Process(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=60))


def engine_process(workers: Workers) -> psutil.Process:
    """The process of the one rollout actor."""
    (actor,) = workers.fleet.actors
    return process_of(actor)


def children(process: psutil.Process, name: str) -> list[psutil.Process]:
    """Processes below it that are called so."""
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if name in " ".join([child.name(), *child.cmdline()]):
                found.append(child)
    return found


def strike(workers: Workers, victims: list[psutil.Process], how: signal.Signals) -> threading.Thread:
    """Sends a signal to processes as soon as the engine has sampled something more."""
    (actor,) = workers.fleet.actors

    def sampled() -> float:
        return float(ray.get(actor.stats.remote(), timeout=60)["generated_tokens"])

    before = sampled()

    def watch() -> None:
        while sampled() == before:
            time.sleep(0.001)
        for victim in victims:
            victim.send_signal(how)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_an_engine_that_is_killed_in_a_round_costs_no_group(workers, undisturbed, tiny_policies, tmp_path):
    version, before = workers.learners.version, workers.fleet.supervisor.restarts
    killed = engine_process(workers)
    everything = [killed, *killed.children(recursive=True)]
    thread = strike(workers, [killed], signal.SIGKILL)
    rows = run(workers, tiny_policies.taught, tmp_path / "killed")
    thread.join()
    assert trained(rows) == undisturbed
    assert workers.fleet.supervisor.restarts > before
    # The new engine starts from the first weights, and may have sampled with the learner's only.
    assert {(row.round, version_of(row)) for row in rows} == {(index, version + index) for index in range(ROUNDS)}
    assert not psutil.wait_procs(everything, timeout=60)[1], "something lives on that might hold a GPU"


def version_of(row: Record) -> int:
    """Of the weights that sampled a trajectory, which are the same throughout."""
    (version,) = set(row.trajectory.versions[row.trajectory.loss_mask()].tolist())
    return int(version)


def test_a_sandbox_that_is_killed_in_a_round_costs_no_group(workers, undisturbed, tiny_policies, tmp_path):
    victims = children(engine_process(workers), "zygote")
    assert victims
    thread = strike(workers, victims, signal.SIGKILL)
    rows = run(workers, tiny_policies.taught, tmp_path / "unboxed")
    thread.join()
    assert sorted(row.trajectory.id for row in rows) == undisturbed
    # A program that was lost with its process is our failure, earns nothing, and does not train.
    lost = {row.trajectory.id for row in rows if row.trajectory.reward is None}
    assert set(trained(rows)) >= set(undisturbed) - lost


def test_an_engine_that_hangs_is_replaced_while_rollouts_run_ahead(workers, tiny_policies, tmp_path):
    before = workers.fleet.supervisor.restarts
    victims = children(engine_process(workers), "EngineCore")
    assert victims
    thread = strike(workers, victims, signal.SIGSTOP)
    rows = run(workers, tiny_policies.taught, tmp_path / "hung", stream={"max_staleness": 1})
    thread.join()
    assert workers.fleet.supervisor.restarts > before
    assert Counter(row.round for row in rows) == dict.fromkeys(range(ROUNDS), GROUPS * SIBLINGS)
    # The stream numbers its groups in the order of their admission, in any run.
    ids = [f"g{group:06d}/{sibling}" for group in range(ROUNDS * GROUPS) for sibling in range(SIBLINGS)]
    assert trained(rows) == ids
    assert not psutil.wait_procs(victims, timeout=60)[1], "it would go on, with old weights, if it were continued"


def test_a_run_whose_learner_is_killed_in_a_round_goes_on_to_the_same_groups(
    workers, undisturbed, tiny_policies, tmp_path
):
    recipe, threads = small_recipe(tiny_policies.taught), list[threading.Thread]()
    (rank,) = workers.learners._workers.handles
    victim = process_of(rank)

    def on_round(done: int, _: Any) -> None:
        if done == ROUNDS - 1:
            threads.append(strike(workers, [victim], signal.SIGKILL))

    with (
        RunLog.create(tmp_path / "killed", recipe, "train") as log,
        pytest.raises(ActorCallError, match="learner rank 0 died"),
    ):
        train(workers, recipe, log, on_round)
    threads[0].join()
    with (
        LearnerGroup(tiny_policies.taught, recipe.learner) as learners,
        RunLog.resume(tmp_path / "killed", recipe) as log,
    ):
        stand = recorded(log)
        newest = StageCheckpoints(log, Stage.RL, recipe.learner).newest()
        assert newest is not None
        rows = train(Workers(workers.fleet, workers.codec, learners), recipe, log, done=newest.state.progress["done"])
    assert len(stand) == (ROUNDS - 1) * GROUPS * SIBLINGS
    assert trained(rows) == undisturbed
