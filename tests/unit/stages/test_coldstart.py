"""The passes over the demonstrations: nobody is forgotten, nobody comes twice, the seed decides the order."""

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learners.sequences import DEMONSTRATION_UID, TrainingSequence
from thor_ray.stages.coldstart import epochs
from thor_ray.trajectory import GroupKind


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
