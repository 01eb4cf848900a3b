"""Weights that arrive in a running engine: served exactly, verified, refused when damaged (invariant 8)."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from transformers import Qwen3ForCausalLM

from actors.family_tokens import leave
from actors.generation import TurnError, WeightsUndefinedError
from actors.sampler import RolloutSettings
from thor_ray.config import FilterConfig, Recipe, SamplingConfig
from thor_ray.problems.problem import Problem
from thor_ray.weights import Delivery, ParameterFacts, WeightReceipt, WeightSender, plan_buckets, transfer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BUCKET_BYTES = 1
"""Each tensor in a bucket of its own, so that layers of several tensors lie across more buckets than there are slots."""

Publish = Callable[[Path, int], WeightReceipt]


def load(path: Path) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


class Learner:
    """This process as the learner: it holds weights and sends them over shared memory."""

    def __init__(self) -> None:
        self._sender = WeightSender(0, torch.device("cpu"))
        self._links = 0

    def delivery(self, named: dict[str, torch.Tensor], version: int) -> Delivery:
        """Over a new link."""
        facts = [ParameterFacts(name, "float32", tuple(each.shape)) for name, each in named.items()]
        buckets = plan_buckets(facts, BUCKET_BYTES)
        self._links += 1
        port = self._sender.open_board()
        return Delivery(f"link{self._links}", 0, "shared_memory", "127.0.0.1", port, version, buckets)

    def send(self, actor: Any, path: Path, version: int, parameters: int | None = None) -> WeightReceipt:
        """Sends a policy, or only its first parameters, and returns or raises what the engine says of it."""
        named: dict[str, torch.Tensor] = dict(itertools.islice(load(path).named_parameters(), parameters))
        delivery = self.delivery(named, version)
        receipt = actor.update_weights.remote(delivery)
        gathered = ([(entry.name, named[entry.name]) for entry in bucket.tensors] for bucket in delivery.buckets)
        try:
            sent = self._sender.send(delivery, gathered)
        finally:
            answer: WeightReceipt = ray.get(receipt, timeout=60)
        assert answer.checksums == sent
        return answer


@pytest.fixture
def learner() -> Learner:
    return Learner()


@pytest.fixture
def publish(rollout_actor: Any, tiny_policies: Any, learner: Learner) -> Iterator[Publish]:
    """Publishes a policy; the taught one is back afterwards."""

    def send(path: Path, version: int) -> WeightReceipt:
        receipt = learner.send(rollout_actor, path, version)
        assert len(receipt.checksums) > 2
        return receipt

    yield send
    learner.send(rollout_actor, tiny_policies.taught, 0)


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
    rollout_actor: Any,
    tiny_policies: Any,
    recipe: Recipe,
    publish: Publish,
    learner: Learner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "checksum", lambda *arguments: "of other bytes")
        with pytest.raises(Exception, match=r"version 3, bucket 0 .*: checksum of other bytes was sent, \w+ arrived"):
            publish(tiny_policies.other, 3)
    with pytest.raises(Exception, match="their last update failed"):
        ray.get(rollout_actor.ready.remote())
    with pytest.raises(Exception, match=r"parameters got no value: model\.layers"):
        learner.send(rollout_actor, tiny_policies.other, 3, parameters=3)
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
        rollout_actor.sample_family.options(num_returns=2).remote(
            problem, 16, None, settings, seed=seed, uid=f"family{seed}", filters=FilterConfig()
        )
        for seed in range(2)
    ]
    started = ray.get(rollout_actor.stats.remote())["requests"]
    deadline = time.monotonic() + 60
    while ray.get(rollout_actor.stats.remote())["requests"] == started and time.monotonic() < deadline:
        time.sleep(0.005)
    publish(tiny_policies.other, 23)
    families = [leave(ray.get(outline, timeout=120).groups, tokens) for outline, tokens in running]
    trajectories = [each for [group] in families for each in group.trajectories]
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


def test_no_update_while_trajectories_are_running(rollout_actor: Any, recipe: Recipe, learner: Learner) -> None:
    delivery = learner.delivery({"w": torch.zeros(1)}, 5)
    settings = RolloutSettings(SamplingConfig(max_new_tokens=400), "bare", recipe.policy.max_context)
    before = ray.get(rollout_actor.version.remote())
    running = rollout_actor.rollout_group.remote(Problem("p", "What?", "1", "t"), 32, settings, seed=0, uid="busy")
    with pytest.raises(Exception, match="1 calls are in flight"):
        ray.get(rollout_actor.update_weights.remote(delivery))
    group = ray.get(running)
    assert {int(v) for t in group.trajectories for v in t.versions[t.loss_mask()]} == {before}


def fixed_group(actor: Any, recipe: Recipe, uid: str = "fixed") -> list[tuple[int, ...]]:
    settings = RolloutSettings(SamplingConfig(max_new_tokens=20), "bare", recipe.policy.max_context)
    group = ray.get(actor.rollout_group.remote(Problem("p", "What is 2 + 3?", "5", "t"), 4, settings, seed=7, uid=uid))
    return [tuple(trajectory.ids) for trajectory in group.trajectories]


def test_an_engine_that_has_slept_samples_what_it_sampled_before(rollout_actor: Any, recipe: Recipe) -> None:
    before = fixed_group(rollout_actor, recipe)
    ray.get([rollout_actor.sleep.remote(), rollout_actor.sleep.remote()])
    version = ray.get(rollout_actor.version.remote())
    assert ray.get(rollout_actor.ready.remote(), timeout=60) == version, "it lives, and cannot prove it by a token"
    with pytest.raises(TurnError, match="wake it before it is given prompts"):
        fixed_group(rollout_actor, recipe)
    with pytest.raises(TurnError):
        ray.get(rollout_actor.probe.remote([[1, 2, 3]]))
    ray.get([rollout_actor.wake_up.remote(), rollout_actor.wake_up.remote()])
    assert fixed_group(rollout_actor, recipe) == before


def test_an_engine_that_sleeps_wakes_for_new_weights_and_serves_them_exactly(
    rollout_actor: Any, tiny_policies: Any, recipe: Recipe, publish: Publish
) -> None:
    ray.get(rollout_actor.sleep.remote())
    publish(tiny_policies.other, 31)
    assert ray.get(rollout_actor.ready.remote()) == 31
    assert greedy_gap(rollout_actor, tiny_policies.other, recipe, "woken") <= 1e-3


def test_an_engine_that_wakes_for_weights_that_are_damaged_serves_nothing(
    rollout_actor: Any, tiny_policies: Any, recipe: Recipe, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.get(rollout_actor.sleep.remote())
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "checksum", lambda *arguments: "of other bytes")
        with pytest.raises(Exception, match="checksum of other bytes was sent"):
            publish(tiny_policies.other, 32)
    for call in (rollout_actor.ready, rollout_actor.wake_up):
        with pytest.raises(WeightsUndefinedError):
            ray.get(call.remote())
    with pytest.raises(TurnError):
        fixed_group(rollout_actor, recipe)
    publish(tiny_policies.other, 33)
    assert greedy_gap(rollout_actor, tiny_policies.other, recipe, "repaired") <= 1e-3


@pytest.mark.parametrize("work", ["group", "family"])
def test_an_engine_does_not_fall_asleep_over_its_work(rollout_actor: Any, recipe: Recipe, work: str) -> None:
    settings = RolloutSettings(SamplingConfig(max_new_tokens=400), "bare", recipe.policy.max_context)
    problem, before = Problem("p", "What?", "1", "t"), ray.get(rollout_actor.stats.remote())["requests"]
    if work == "group":
        running = rollout_actor.rollout_group.remote(problem, 32, settings, seed=0, uid="busy")
    else:
        running = rollout_actor.sample_family.remote(
            problem, 32, None, settings, seed=0, uid="busy", filters=FilterConfig()
        )
    deadline = time.monotonic() + 60
    while ray.get(rollout_actor.stats.remote())["requests"] == before and time.monotonic() < deadline:
        time.sleep(0.005)
    with pytest.raises(TurnError, match="cannot sleep while 1 calls are in flight"):
        ray.get(rollout_actor.sleep.remote())
    ray.get(running)
