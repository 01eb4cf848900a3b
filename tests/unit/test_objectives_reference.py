"""The objectives against float64 references written from the equations, on random ragged batches and options."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import assume, given
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
from thor_ray.objectives import PolicyBatch, TokenCounts, denominators, policy_loss
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


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@given(ragged=ragged_batches(), config=objectives())
def test_float32_is_near_enough_on_every_device(device, ragged, config):
    """Against the float64 loss of the same numbers, statistics included."""
    # A weight that lies at a bound may be masked out in one precision and not in the other.
    assume(config.off_policy.mode == "truncate")
    batch = ragged.batch

    def moved(tensor: Tensor | None) -> Any:
        return tensor if tensor is None else tensor.to(device, torch.float32 if tensor.is_floating_point() else None)

    rounded = PolicyBatch(**{field.name: moved(getattr(batch, field.name)) for field in fields(batch)})
    divisors = denominators(batch.counts(), config.denominator)
    assert rounded.counts() == batch.counts()
    loss, statistics = policy_loss(moved(ragged.log_probs), rounded, divisors, config, moved(ragged.entropies))
    exact, exact_statistics = policy_loss(ragged.log_probs, batch, divisors, config, ragged.entropies)
    assert (loss.dtype, loss.device.type) == (torch.float32, device)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-4)
    assert statistics.metrics() == pytest.approx(exact_statistics.metrics(), rel=1e-3, abs=1e-3)
