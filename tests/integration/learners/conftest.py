"""Sequences for learners to learn from, and one learner for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from learners.group import LearnerGroup
from learners.sequences import TrainingSequence
from tests.integration.learners.probed_ranks import Gradients, reference_loss
from thor_ray.config import LearnerConfig
from thor_ray.trajectory import GroupKind

PROMPT = 4


@pytest.fixture(scope="session")
def policy(tiny_policies: Any) -> Path:
    """A small policy with its tokenizer."""
    path: Path = tiny_policies.taught
    return path


MakeSequences = Callable[..., list[TrainingSequence]]


@pytest.fixture(scope="session")
def make_sequences() -> MakeSequences:
    """Ragged random sequences of both levels, the same for the same seed."""

    def make(count: int, seed: int = 0, longest: int = 30) -> list[TrainingSequence]:
        generator = np.random.default_rng(seed)
        sequences = []
        for index in range(count):
            length = int(generator.integers(PROMPT + 4, longest + 1))
            mask = np.arange(length) >= PROMPT
            mask[PROMPT + 2 : PROMPT + 2 + int(generator.integers(0, 3))] = False
            sequences.append(
                TrainingSequence(
                    ids=generator.integers(3, 60, length),
                    loss_mask=mask,
                    behaviour_log_probs=np.where(mask, generator.normal(-6, 1.5, length), 0).astype(np.float32),
                    advantage=float(generator.normal()),
                    level=GroupKind.STEP if index % 3 == 2 else GroupKind.EPISODE,
                    group_uid=f"g{index // 4}",
                )
            )
        return sequences

    return make


@pytest.fixture(scope="session")
def learner(ray_cluster: Any, policy: Path) -> Iterator[LearnerGroup]:
    """Two ranks, ZeRO-3, so that every tensor is sharded; weights live on from test to test.

    Tests begin a stage of their own. One group serves all, for starting processes is what takes the time.
    """
    with LearnerGroup(policy, LearnerConfig(ranks=2, zero_stage=3, micro_batch_tokens=256)) as group:
        yield group


@pytest.fixture(scope="session")
def sequences(make_sequences: MakeSequences) -> list[TrainingSequence]:
    return make_sequences(11, longest=40)


@pytest.fixture(scope="session")
def reference_gradients(policy: Path, sequences: list[TrainingSequence]) -> Gradients:
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    reference_loss(model, sequences).backward()
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


@pytest.fixture(scope="session")
def reference_training(policy: Path, sequences: list[TrainingSequence]) -> list[tuple[float, float]]:
    """Losses and gradient norms of four updates with torch alone."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.1)
    history = []
    for rate in (5e-4, 1e-3, 1e-3, 1e-3):
        loss = reference_loss(model, sequences)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        history.append((loss.item(), norm.item()))
    return history
