"""The objectives against float64 references written from the equations, on random ragged batches and options."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.support.objective_reference import (
    RaggedBatch,
    objectives,
    ragged_batches,
    reference_loss,
    release_loss,
)
from thor_ray.config import ObjectiveConfig
from thor_ray.objectives import TokenCounts, denominators, policy_loss
from thor_ray.trajectory import GroupKind


def loss_and_gradient(ragged: RaggedBatch, micro_batches: list[list[int]], config: ObjectiveConfig):
    """The sum of the micro-batches' losses, and its gradient by every log-prob and entropy."""
    log_probs = ragged.log_probs.clone().requires_grad_()
    divisors = denominators(ragged.batch.counts(), config.denominator)
    total = 0.0
    for chosen in micro_batches:
        part, batch, entropies = ragged.rows(chosen, log_probs)
        loss, _ = policy_loss(part, batch, divisors, config, entropies)
        loss.backward()
        total += loss.item()
    return total, log_probs.grad


def gradient(loss: Tensor, log_probs: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, log_probs)
    return found


def splits(ragged: RaggedBatch) -> st.SearchStrategy[list[list[int]]]:
    """Any distribution of the rows over up to four micro-batches, in any order."""
    rows = len(ragged.log_probs)
    homes = st.lists(st.integers(0, 3), min_size=rows, max_size=rows)
    return homes.map(
        lambda drawn: [part for home in range(4) if (part := [row for row in range(rows) if drawn[row] == home])]
    )


@given(ragged_batches(), objectives())
def test_the_loss_and_its_gradient_are_the_equations(ragged, config):
    whole = [list(range(len(ragged.log_probs)))]
    loss, found = loss_and_gradient(ragged, whole, config)
    log_probs = ragged.log_probs.clone().requires_grad_()
    expected = reference_loss(ragged, log_probs, config)
    assert loss == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)
    mask = ragged.batch.mask
    torch.testing.assert_close(found[mask], gradient(expected, log_probs)[mask], rtol=1e-9, atol=1e-10)
    assert found[~mask].eq(0).all(), "a token outside the mask has a gradient"


@given(st.data())
def test_the_split_into_micro_batches_changes_nothing(data):
    """Invariant 9, for every option but the release's."""
    ragged, config = data.draw(ragged_batches()), data.draw(objectives())
    loss, found = loss_and_gradient(ragged, [list(range(len(ragged.log_probs)))], config)
    split_loss, split_found = loss_and_gradient(ragged, data.draw(splits(ragged)), config)
    assert split_loss == pytest.approx(loss, rel=1e-11, abs=1e-11)
    torch.testing.assert_close(split_found, found, rtol=1e-11, atol=1e-11)


@given(st.data())
def test_a_mixed_batch_is_the_release(data):
    ragged, config = data.draw(ragged_batches()), data.draw(objectives(mixed_batch=True))
    micro_batches = data.draw(splits(ragged))
    loss, found = loss_and_gradient(ragged, micro_batches, config)
    log_probs = ragged.log_probs.clone().requires_grad_()
    expected = release_loss(ragged, log_probs, micro_batches, config)
    assert loss == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)
    mask = ragged.batch.mask
    torch.testing.assert_close(found[mask], gradient(expected, log_probs)[mask], rtol=1e-9, atol=1e-10)


@given(ragged_batches(), st.data())
def test_the_counts_of_micro_batches_add_up(ragged, data):
    total = dict.fromkeys(GroupKind, TokenCounts())
    for chosen in data.draw(splits(ragged)):
        _, batch, _ = ragged.rows(chosen, ragged.log_probs)
        total = {level: total[level] + counts for level, counts in batch.counts().items()}
    assert total == ragged.batch.counts()


@given(ragged_batches(), objectives())
def test_float32_is_near_enough(ragged, config):
    """What a GPU computes, against the float64 loss of the same numbers."""
    batch = ragged.batch
    single = {
        name: None if tensor is None else tensor.float()
        for name, tensor in (
            ("advantages", batch.advantages),
            ("behaviour_log_probs", batch.behaviour_log_probs),
            ("proximal_log_probs", batch.proximal_log_probs),
            ("reference_log_probs", batch.reference_log_probs),
        )
    }
    divisors = denominators(batch.counts(), config.denominator)
    rounded = type(batch)(mask=batch.mask, levels=batch.levels, stale=batch.stale, **single)
    loss, _ = policy_loss(ragged.log_probs.float(), rounded, divisors, config, ragged.entropies.float())
    assert loss.dtype == torch.float32
    # Weights that lie at a bound of the mask may fall on its other side.
    if config.off_policy.mode == "truncate":
        exact, _ = policy_loss(ragged.log_probs, batch, divisors, config, ragged.entropies)
        assert loss.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-4)
