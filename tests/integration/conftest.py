"""One Ray cluster, one policy, one rollout actor with a real vLLM engine for all integration tests of a session.

Their cold start is what integration tests spend their time on. Tests that kill an actor start their own.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from thor_ray.config import EngineConfig, PolicyConfig, Recipe, SandboxConfig
from thor_ray.dialogue import render_action, render_observation, render_prompt
from thor_ray.tiny.model import build_model
from thor_ray.tiny.tokenizer import train_tokenizer

CLUSTER_CPUS = 8
"""Logical CPUs of the shared cluster: one per actor of ours, all of which take turns."""

TRAINING_STEPS = 150


@dataclass(frozen=True)
class TinyPolicies:
    """Two Hugging Face directories of the same shape with different weights.

    Attributes:
        taught: Adds two numbers by writing programs; some of its programs fail.
        other: The same, with every matrix disturbed.
    """

    taught: Path
    other: Path


def demonstration(first: int, second: int) -> list[str]:
    """Prompt, then thought, action, observation and so on of one solved addition; every third begins with a failure."""
    total = first + second
    parts = [render_prompt("bare", f"What is {first} + {second}?")]
    if (first + second) % 3 == 0:
        parts += ["Let us add them.\n", render_action(f"print({first} + {second}, x)")]
        parts += [render_observation("NameError: name 'x' is not defined"), "Once more.\n"]
    else:
        parts += ["Let us add them.\n"]
    parts += [render_action(f"print({first} + {second})"), render_observation(str(total))]
    return [*parts, f"So the sum is \\boxed{{{total}}}."]


def teach(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[list[str]]) -> None:
    """A few seconds of supervised learning, enough for well-formed dialogues; sums are right now and then."""
    rows = [
        [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]
        + [tokenizer.eos_token_id]
        for parts in texts
    ]
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(TRAINING_STEPS):
        batch = torch.arange(step * 16, step * 16 + 16) % len(rows)
        model(ids[batch], labels=labels[batch]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="session")
def tiny_policies(tmp_path_factory: pytest.TempPathFactory) -> TinyPolicies:
    """Saves the two policies."""
    directory = tmp_path_factory.mktemp("policies")
    texts = [demonstration(first, second) for first in range(2, 14) for second in range(2, 14)]
    tokenizer = train_tokenizer(["".join(parts) for parts in texts])
    model = build_model(tokenizer, layers=2, seed=0)
    torch.set_num_threads(1)
    teach(model, tokenizer, texts)
    policies = TinyPolicies(directory / "taught", directory / "other")
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(policies.taught)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    model.save_pretrained(policies.other)
    for path in (policies.taught, policies.other):
        tokenizer.save_pretrained(path)
    return policies


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster of the session's own, with more logical CPUs than the machine may have."""
    from actors.placement import RayCluster

    os.environ.pop("RAY_ADDRESS", None)
    # Unix sockets have short names only, which rules out pytest's own directories.
    temp_dir = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    with RayCluster(cpus=CLUSTER_CPUS, temp_dir=temp_dir) as cluster:
        yield cluster
    shutil.rmtree(temp_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """A recipe whose engine and sandbox are as small as the tests allow."""
    return Recipe(
        policy=PolicyConfig(max_context=512),
        engine=EngineConfig(max_sequences=64, kv_cache_mib=64),
        sandbox=SandboxConfig(workers=1, timeout_seconds=60.0, preload=()),
    )


@pytest.fixture(scope="session")
def rollout_actor(ray_cluster: Any, tiny_policies: TinyPolicies, recipe: Recipe) -> Iterator[Any]:
    """A rollout actor that serves the taught policy; whoever updates its weights puts the old ones back."""
    from actors.placement import start_rollout_actors, stop_rollout_actors

    actors = start_rollout_actors(recipe, str(tiny_policies.taught))
    yield actors[0]
    stop_rollout_actors(actors)
