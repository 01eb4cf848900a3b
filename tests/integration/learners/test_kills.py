"""Ranks that are killed or hang: the run ends with a named cause, and goes on to the same weights, bit by bit."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from learners.group import LearnerGroup
from learners.ranks import ActorCallError
from learners.rotation import CheckpointRotation
from learners.sequences import TrainingSequence
from thor_ray.config import ObjectiveConfig, OptimizerConfig

MakeSequences = Callable[..., list[TrainingSequence]]

ROUNDS = 4
UPDATES = 2
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, schedule="cosine", warmup_updates=2)


def begin(group: LearnerGroup) -> None:
    group.begin_rl(ObjectiveConfig(), OPTIMIZER, ROUNDS * UPDATES)


def train(group: LearnerGroup, rotation: CheckpointRotation, make_sequences: MakeSequences) -> None:
    """What is left of some rounds, as the RL loop runs them: proximal log-probs, updates, checkpoint."""
    begin(group)
    newest = rotation.newest()
    assert newest is not None
    for index in range(group.load(newest.path)["done"], ROUNDS):
        sequences = group.with_proximal_log_probs(make_sequences(8, seed=index))
        for update in range(UPDATES):
            group.update(sequences[update::UPDATES])
        group.save(rotation.path(index + 1), {"done": index + 1})
        rotation.prune()


def started_rotation(group: LearnerGroup, path: Path) -> CheckpointRotation:
    """A rotation with a checkpoint of the policy's own weights, before any update."""
    rotation = CheckpointRotation(path, keep=2)
    begin(group)
    group.save(rotation.path(0), {"done": 0})
    return rotation


def final_weights(group: LearnerGroup, path: Path) -> dict[str, Any]:
    group.export(path)
    return dict(load_file(path / "model.safetensors"))


def rank_processes() -> set[psutil.Process]:
    """Processes of learner ranks on this test's cluster, known by the title that Ray gives them."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "LearnerWorker" in " ".join(child.cmdline()):
                found.add(child)
    return found


def strike(victims: set[psutil.Process], signal_number: int, due: Callable[[], bool]) -> threading.Thread:
    """Sends a signal to a rank as soon as something has come true."""

    def watch() -> None:
        while not due():
            time.sleep(0.002)
        os.kill(min(victim.pid for victim in victims), signal_number)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def while_saving(rotation: CheckpointRotation) -> bool:
    return any(rotation.directory.glob("*.partial/engine")) and rotation.path(2).is_dir()


def while_learning(rotation: CheckpointRotation) -> bool:
    return rotation.path(1).is_dir() and not any(rotation.directory.glob("*.partial"))


@pytest.mark.parametrize("moment", [while_saving, pytest.param(while_learning, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_and_resumed_ends_with_the_weights_of_one_that_was_not(
    learner: LearnerGroup, policy: Path, make_sequences: MakeSequences, tmp_path: Path, moment: Any
):
    undisturbed = started_rotation(learner, tmp_path / "undisturbed")
    killed = started_rotation(learner, tmp_path / "killed")
    start = killed.path(0)
    assert start.is_dir()
    train(learner, undisturbed, make_sequences)
    expected = final_weights(learner, tmp_path / "expected")

    others = rank_processes()
    with LearnerGroup(policy, learner.config) as group:
        thread = strike(rank_processes() - others, signal.SIGKILL, lambda: moment(killed))
        with pytest.raises(ActorCallError, match=r"learner rank \d died"):
            train(group, killed, make_sequences)
        thread.join()
    assert len(killed.complete()) == 2
    assert killed.newest().state.progress["done"] < ROUNDS  # type: ignore[union-attr]

    train(learner, killed, make_sequences)
    assert not any(killed.directory.glob("*.partial"))
    resumed = final_weights(learner, tmp_path / "resumed")
    assert resumed.keys() == expected.keys()
    for name, weight in resumed.items():
        assert weight.equal(expected[name]), name


def test_a_rank_that_hangs_ends_the_run_in_time_and_is_named(
    learner: LearnerGroup, policy: Path, make_sequences: MakeSequences, tmp_path: Path
):
    rotation = started_rotation(learner, tmp_path / "rl")
    others = rank_processes()
    with LearnerGroup(policy, learner.config.model_copy(update={"timeout_seconds": 30.0})) as group:
        thread = strike(rank_processes() - others, signal.SIGSTOP, lambda: while_learning(rotation))
        started = time.monotonic()
        # Whether the other rank waits for it in a collective operation, and gives up, is a matter of the moment.
        named = r"learner rank \d failed: .*; learner rank \d gives no answer|^learner rank \d gave no answer"
        with pytest.raises(ActorCallError, match=named):
            train(group, rotation, make_sequences)
        assert time.monotonic() - started < 150
        thread.join()
