"""Weights that arrive in a running engine: served exactly, verified, refused when damaged (invariant 8)."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from transformers import Qwen3ForCausalLM

from actors.sampler import RolloutSettings
from thor_ray.config import Recipe, SamplingConfig
from thor_ray.problems.problem import Problem
from thor_ray.weights import WeightManifest, WeightReceipt, pack_buckets

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BUCKET_BYTES = 2**18
"""Small, so that even a tiny model takes several buckets."""

Publish = Callable[[Path, int], WeightReceipt]


def load(path: Path) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def packed(path: Path, version: int) -> tuple[list[Any], WeightManifest]:
    model = load(path)
    buckets = list(pack_buckets(model.named_parameters(), BUCKET_BYTES))
    return [payload for payload, _ in buckets], WeightManifest(version, tuple(manifest for _, manifest in buckets))


@pytest.fixture
def publish(rollout_actor: Any, tiny_policies: Any) -> Iterator[Publish]:
    """Publishes a policy through Ray's object store; the taught one is back afterwards."""

    def send(path: Path, version: int) -> WeightReceipt:
        payloads, manifest = packed(path, version)
        assert len(payloads) > 2
        receipt: WeightReceipt = ray.get(
            rollout_actor.update_weights.remote([ray.put(payload) for payload in payloads], manifest), timeout=60
        )
        assert receipt.checksum == manifest.checksum
        return receipt

    yield send
    send(tiny_policies.taught, 0)


def greedy_gap(actor: Any, path: Path, recipe: Recipe, uid: str) -> float:
    """Samples greedily; the largest log-prob gap to transformers, after checking that every token is the best one."""
    settings = RolloutSettings(SamplingConfig(temperature=0.0, max_new_tokens=48), "bare", recipe.policy.max_context)
    problem = Problem("p", "What is 5 + 6?", "11", "test")
    group = ray.get(actor.rollout_group.remote(problem, 1, settings, seed=0, uid=uid))
    [trajectory] = group.trajectories
    with torch.no_grad():
        rows = load(path)(torch.tensor([trajectory.ids])).logits[0, :-1].log_softmax(-1)
    sampled = trajectory.loss_mask()[1:]
    assert (rows.argmax(-1).numpy() == np.array(trajectory.ids[1:]))[sampled].all()
    expected = rows.gather(1, torch.tensor(trajectory.ids[1:])[:, None])[:, 0].numpy()
    return float(np.abs(trajectory.log_probs[1:] - expected)[sampled].max())


def test_each_version_is_served_exactly(
    rollout_actor: Any, tiny_policies: Any, recipe: Recipe, publish: Publish
) -> None:
    """With tied embeddings and different weights; reloading the same ones would hide both of vLLM's CPU traps."""
    sequence = list(range(20, 60))
    probes = []
    for version, path in enumerate([tiny_policies.other, tiny_policies.taught, tiny_policies.other], start=1):
        receipt = publish(path, version)
        assert receipt.version == version == ray.get(rollout_actor.version.remote())
        assert greedy_gap(rollout_actor, path, recipe, f"w{version}") <= 1e-3
        [log_probs] = ray.get(rollout_actor.probe.remote([sequence]))
        with torch.no_grad():
            rows = load(path)(torch.tensor([sequence])).logits[0, :-1].log_softmax(-1)
        expected = rows.gather(1, torch.tensor(sequence[1:])[:, None])[:, 0].numpy()
        assert np.abs(np.array(log_probs) - expected).max() <= 1e-3
        probes.append(log_probs)
    assert probes[0] == probes[2] != probes[1]


def test_trajectories_name_the_version_that_sampled_them(
    rollout_actor: Any, tiny_policies: Any, recipe: Recipe, publish: Publish
) -> None:
    publish(tiny_policies.other, 17)
    settings = RolloutSettings(SamplingConfig(max_new_tokens=20), "bare", recipe.policy.max_context)
    group = ray.get(rollout_actor.rollout_group.remote(Problem("p", "What?", "1", "t"), 2, settings, seed=0, uid="v"))
    for trajectory in group.trajectories:
        assert set(trajectory.versions[trajectory.loss_mask()].tolist()) == {17}


def test_damaged_or_missing_weights_stop_the_engine_until_good_ones_arrive(
    rollout_actor: Any, tiny_policies: Any, recipe: Recipe, publish: Publish
) -> None:
    payloads, manifest = packed(tiny_policies.other, 3)
    damaged = [payload.copy() for payload in payloads]
    damaged[1][100] ^= 1
    with pytest.raises(Exception, match=r"version 3, bucket 1 .* was sent, .* arrived"):
        ray.get(rollout_actor.update_weights.remote(damaged, manifest))
    with pytest.raises(Exception, match="their last update failed"):
        ray.get(rollout_actor.ready.remote())
    partial = WeightManifest(3, manifest.buckets[:1])
    with pytest.raises(Exception, match=r"parameters got no value: model\.layers"):
        ray.get(rollout_actor.update_weights.remote(payloads[:1], partial))
    with pytest.raises(Exception, match=r"1 buckets arrived, \d+ were announced"):
        ray.get(rollout_actor.update_weights.remote(payloads[:1], manifest))
    publish(tiny_policies.other, 4)
    assert greedy_gap(rollout_actor, tiny_policies.other, recipe, "repaired") <= 1e-3


def test_a_family_goes_on_with_new_weights_and_every_token_names_those_that_sampled_it(
    rollout_actor: Any, tiny_policies: Any, recipe: Recipe, publish: Publish
) -> None:
    """In-flight update: what was sampled stays, and log-probs are those of the version that a token names."""
    before = ray.get(rollout_actor.version.remote())
    settings = RolloutSettings(SamplingConfig(max_new_tokens=400), "bare", recipe.policy.max_context)
    problem = Problem("p", "What?", "1", "t")
    running = [
        rollout_actor.sample_family.remote(problem, 16, None, settings, seed=seed, uid=f"family{seed}")
        for seed in range(2)
    ]
    started = ray.get(rollout_actor.stats.remote())["requests"]
    deadline = time.monotonic() + 60
    while ray.get(rollout_actor.stats.remote())["requests"] == started and time.monotonic() < deadline:
        time.sleep(0.005)
    publish(tiny_policies.other, 23)
    trajectories = [each for [group] in ray.get(running, timeout=120) for each in group.trajectories]
    models = {before: load(tiny_policies.taught), 23: load(tiny_policies.other)}
    seen = set()
    for trajectory in trajectories:
        for version, model in models.items():
            with torch.no_grad():
                rows = model(torch.tensor([trajectory.ids])).logits[0, :-1].log_softmax(-1)
            expected = rows.gather(1, torch.tensor(trajectory.ids[1:])[:, None])[:, 0].numpy()
            sampled = (trajectory.loss_mask() & (trajectory.versions == version))[1:]
            assert np.abs(trajectory.log_probs[1:] - expected)[sampled].max(initial=0) <= 1e-3
            seen |= {version} if sampled.any() else set()
    assert seen == models.keys()


def test_no_update_while_trajectories_are_running(
    rollout_actor: Any, tiny_policies: Any, recipe: Recipe, publish: Publish
) -> None:
    payloads, manifest = packed(tiny_policies.other, 5)
    settings = RolloutSettings(SamplingConfig(max_new_tokens=400), "bare", recipe.policy.max_context)
    before = ray.get(rollout_actor.version.remote())
    running = rollout_actor.rollout_group.remote(Problem("p", "What?", "1", "t"), 32, settings, seed=0, uid="busy")
    with pytest.raises(Exception, match="1 calls are in flight"):
        ray.get(rollout_actor.update_weights.remote(payloads, manifest))
    group = ray.get(running)
    assert {int(v) for t in group.trajectories for v in t.versions[t.loss_mask()]} == {before}
