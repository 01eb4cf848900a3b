"""Weights reach other processes, bit by bit, and a receiver that does not serve them is noticed (invariant 8).

The receiver is a second model in an actor of its own, which answers probes by its own forward pass.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from learners.group import LearnerGroup
from learners.publish import WeightMismatchError
from learners.ranks import ActorCallError
from learners.sequences import TrainingSequence
from thor_ray.config import ObjectiveConfig, OptimizerConfig, PublishingConfig
from thor_ray.weights import Delivery, NamedTensors, WeightReceipt, WeightReceiver

# Ray's workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

MakeSequences = Callable[..., list[TrainingSequence]]
BUCKET_BYTES = 200_000


class Receiver:
    """Serves a model as an engine would.

    Faults: ``stale`` loads nothing, ``corrupt`` computes another checksum, ``partial`` forgets a parameter, ``dies`` ends
    the process with the first bucket.
    """

    def __init__(self, path: Path) -> None:
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self.fault: str | None = None
        self._receiver = WeightReceiver(0, torch.device("cpu"))

    def fail_with(self, fault: str | None) -> None:
        self.fault = fault

    def update_weights(self, delivery: Delivery) -> WeightReceipt:
        parameters = dict(self.model.named_parameters())

        def load(named: NamedTensors) -> None:
            if self.fault == "dies":
                os._exit(1)
            for name, tensor in named:
                forgotten = self.fault == "partial" and name.endswith("layers.0.self_attn.q_proj.weight")
                if not (forgotten or self.fault == "stale"):
                    parameters[name].data.copy_(tensor)

        checksums = self._receiver.receive(delivery, load)
        if self.fault == "corrupt":
            checksums = ("of other bytes", *checksums[1:])
        return WeightReceipt(delivery.version, checksums, 0.0)

    def probe(self, sequences: list[list[int]]) -> list[list[float]]:
        answers = []
        for ids in sequences:
            with torch.no_grad():
                log_probs = torch.log_softmax(self.model(torch.tensor([ids])).logits[0, :-1], -1)
            answers.append(log_probs.gather(-1, torch.tensor(ids)[1:, None]).squeeze(-1).tolist())
        return answers

    def digest(self) -> str:
        parts = (parameter.detach().numpy().tobytes() for parameter in self.model.parameters())
        return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture(scope="module")
def receivers(ray_cluster: Any, tiny_policies: Any) -> Iterator[list[Any]]:
    """Two receivers that start with other weights than the learner."""
    actors = [ray.remote(Receiver).options(num_cpus=0.5).remote(tiny_policies.other) for _ in range(2)]
    yield actors
    for actor in actors:
        ray.kill(actor)


def test_every_publication_arrives_is_verified_and_counted(
    learner: LearnerGroup, receivers: list[Any], make_sequences: MakeSequences
):
    learner.begin_rl(ObjectiveConfig(), OptimizerConfig(learning_rate=1e-2), 10)
    checksums = []
    served = learner.version
    for version in range(served + 1, served + 4):
        publication = learner.publish(receivers, BUCKET_BYTES)
        assert publication.version == learner.version == version
        assert publication.max_logprob_gap < 1e-4
        assert publication.nbytes > 2 * BUCKET_BYTES
        assert len(set(ray.get([receiver.digest.remote() for receiver in receivers]))) == 1
        checksums.append(publication.checksum)
        learner.update(make_sequences(5, seed=version))
    assert len(set(checksums)) == 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [("stale", "does not serve the weights"), ("partial", "does not serve the weights"), ("corrupt", "checksum")],
)
def test_a_receiver_that_does_not_serve_what_was_sent_stops_the_run(
    learner: LearnerGroup, receivers: list[Any], make_sequences: MakeSequences, fault: str, message: str
):
    learner.begin_rl(ObjectiveConfig(), OptimizerConfig(learning_rate=1e-2), 10)
    learner.update(make_sequences(5))
    version = learner.version
    ray.get(receivers[1].fail_with.remote(fault))
    with pytest.raises(WeightMismatchError, match=f"engine 1 .*{message}"):
        learner.publish(receivers, BUCKET_BYTES)
    ray.get(receivers[1].fail_with.remote(None))
    assert learner.version == version


def test_an_engine_that_dies_while_it_receives_weights_keeps_nobody_waiting(
    learner: LearnerGroup, receivers: list[Any], tiny_policies: Any
):
    """Neither the ranks nor the other engine wait for it until their time limit, and the version can be sent again."""
    version = learner.version
    victim = ray.remote(Receiver).options(num_cpus=0.5).remote(tiny_policies.other)
    ray.get(victim.fail_with.remote("dies"))
    started = time.monotonic()
    with pytest.raises(ActorCallError, match="engine 1 died"):
        learner.publish([receivers[0], victim], BUCKET_BYTES)
    assert learner.publish(receivers[:1], BUCKET_BYTES).version == learner.version == version + 1
    assert time.monotonic() - started < PublishingConfig().timeout_seconds


def test_an_engine_that_starts_anew_gets_the_version_that_the_others_serve(
    learner: LearnerGroup, receivers: list[Any], make_sequences: MakeSequences
):
    learner.begin_rl(ObjectiveConfig(), OptimizerConfig(learning_rate=1e-2), 10)
    published = learner.publish(receivers[:1], BUCKET_BYTES)
    again = learner.publish_again(receivers[1:], BUCKET_BYTES)
    assert again.version == published.version == learner.version
    assert len(set(ray.get([receiver.digest.remote() for receiver in receivers]))) == 1
    learner.update(make_sequences(5))
    with pytest.raises(ValueError, match=f"not weights {learner.version} any more: they were updated 1 times"):
        learner.publish_again(receivers, BUCKET_BYTES)


def test_a_publication_to_nobody_is_refused(learner: LearnerGroup):
    with pytest.raises(ValueError, match="no engines"):
        learner.publish([])
