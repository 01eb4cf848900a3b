"""The passes over the demonstrations: nobody is forgotten, nobody comes twice, the seed decides the order."""

import dataclasses
import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learners.sequences import DEMONSTRATION_UID, TrainingSequence
from thor_ray import metrics_registry
from thor_ray.config import ColdStartConfig
from thor_ray.stages.coldstart import epochs, pause_after
from thor_ray.stages.evaluate import PASS_SIZES, pass_at
from thor_ray.trajectory import FinishReason, GroupKind, SpanKind, Trajectory, TrajectoryBuilder


def demonstrations(count: int) -> list[TrainingSequence]:
    """Sequences of two tokens, the last of which tells them apart."""
    return [
        TrainingSequence(
            ids=np.array([0, number]),
            loss_mask=np.array([False, True]),
            behaviour_log_probs=np.zeros(2, np.float32),
            advantage=0.0,
            level=GroupKind.EPISODE,
            group_uid=DEMONSTRATION_UID,
        )
        for number in range(count)
    ]


def order(count: int, passes: int, size: int, seed: int) -> list[list[int]]:
    return [[int(each.ids[1]) for each in batch] for batch in epochs(demonstrations(count), passes, size, seed)]


sizes = {"count": st.integers(0, 20), "passes": st.integers(1, 4), "size": st.integers(1, 7), "seed": st.integers(0, 5)}


@given(**sizes)
def test_each_pass_sees_every_demonstration_once(count, passes, size, seed):
    batches = order(count, passes, size, seed)
    per_pass = math.ceil(count / size)
    assert len(batches) == passes * per_pass
    for start in range(0, len(batches), per_pass or 1):
        seen = Counter(number for batch in batches[start : start + per_pass] for number in batch)
        assert seen == Counter(range(count))


@given(**sizes)
def test_only_the_last_batch_of_a_pass_is_smaller(count, passes, size, seed):
    batches = order(count, passes, size, seed)
    per_pass = math.ceil(count / size)
    for position, batch in enumerate(batches):
        last = position % per_pass == per_pass - 1
        assert len(batch) == (count - (per_pass - 1) * size if last else size)


@given(**sizes)
def test_the_same_seed_gives_the_same_batches(count, passes, size, seed):
    assert order(count, passes, size, seed) == order(count, passes, size, seed)


def test_every_pass_and_every_seed_has_an_order_of_its_own():
    first, second = order(20, 2, 20, seed=0)
    assert first != second
    assert order(20, 1, 20, seed=1) != [first]


def pauses(config: ColdStartConfig, updates_per_epoch: int) -> tuple[list[int], list[tuple[int, int]]]:
    """After which updates it evaluates, and after which it takes a checkpoint, due by which count."""
    done = range(1, config.epochs * updates_per_epoch + 1)
    found = [(count, pause_after(count, updates_per_epoch, config)) for count in done]
    evaluated = [count for count, pause in found if pause.evaluates]
    return evaluated, [(count, pause.checkpoint_due) for count, pause in found if pause.checkpoint_due is not None]


def test_it_pauses_as_often_as_asked_for_but_not_at_the_end():
    assert pauses(ColdStartConfig(epochs=3), 4) == ([], [(4, 1), (8, 2)])
    assert pauses(ColdStartConfig(evaluate_every=4), 12) == ([4, 8], [])
    assert pauses(ColdStartConfig(epochs=2, checkpoint_every=3), 5) == ([], [(3, 0), (6, 0), (9, 0)])
    assert pauses(ColdStartConfig(checkpoint_every=5), 5) == ([], [])


def test_pass_at_k_is_the_chance_that_one_of_k_samples_is_right():
    samples = {"easy": [True] * 4, "hard": [True, False, False, False], "hopeless": [False] * 4}
    trajectories = [
        trajectory(f"{problem}-{index}", problem, right=right)
        for problem, outcomes in samples.items()
        for index, right in enumerate(outcomes)
    ]
    assert pass_at(trajectories) == {"pass_at/2": (1 + 0.5 + 0) / 3, "pass_at/4": 2 / 3}
    fewer = [each for each in trajectories if each.id != "easy-0"]
    assert set(pass_at(fewer)) == {"pass_at/2"}, "one problem has three samples only"
    assert pass_at([]) == {}
    assert tuple(map(str, PASS_SIZES)) == metrics_registry.PASS_SIZES


def trajectory(identity: str, problem: str, *, right: bool) -> Trajectory:
    written = TrajectoryBuilder(identity, problem, [1])
    written.append_written(SpanKind.ANSWER, [2])
    graded = written.finish(FinishReason.ANSWERED)
    return dataclasses.replace(graded, grade_status="correct" if right else "wrong")
