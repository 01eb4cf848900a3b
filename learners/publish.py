"""Bringing weights to the engines, and making sure that they arrived (invariant 8).

Buckets go from the learner's ranks to the engines' processes; the driver sees checksums only.
After every publication two things must hold: each engine computed the learner's checksums from the bytes it got, and
each gives the learner's log-probs on a probe. A learner whose updates never reach the engine is the most common
silent failure of such systems.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import ray

from learners.ranks import ActorCallError, wait_all
from learners.sequences import TrainingSequence
from thor_ray.config import PublishingConfig
from thor_ray.errors import UserError
from thor_ray.trajectory import GroupKind
from thor_ray.weights import Delivery, Transport, WeightReceipt, WeightTransferError, call_off, combined_checksum

TOLERANCE: Final[Mapping[str, float]] = {"float32": 1e-3, "bfloat16": 0.3}
"""Largest accepted difference of log-probs, engine against learner, by dtype of the weights. Kernels of the two round
differently: in float32 by 1e-5, in bfloat16 by 0.1 to 0.25, so that there the checksum is the stricter test."""

GRACE_SECONDS: Final = 30.0
"""For which those that take part in a publication that has failed may go on beyond its own time limit."""

PROBE_SEQUENCES: Final = 4
PROBE_TOKENS: Final = 64
"""Most tokens of a probe sequence."""


class WeightMismatchError(WeightTransferError):
    """An engine does not serve the weights that were published. Nothing that it samples may be trained on."""


@dataclass(frozen=True, slots=True)
class WeightPublication:
    """A version that all engines serve, verified.

    Attributes:
        version: Its number.
        seconds: From gathering to the end of verification.
        max_logprob_gap: Largest absolute difference of log-probs on the probe, over all engines.
        checksum: Of all buckets.
        nbytes: Bytes sent to each engine.
    """

    version: int
    seconds: float
    max_logprob_gap: float
    checksum: str
    nbytes: int


class TransportError(UserError):
    """The recipe's transport does not fit the cluster."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent, and what came of it.

    Attributes:
        delivery: To all engines.
        checksums: Of each bucket, as the learner computed them.
    """

    delivery: Delivery
    checksums: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """One for the whole version."""
        return combined_checksum(self.checksums)


class Publisher:
    """Sends one version after the other from a learner's ranks to engines, over a link that lives on between them.

    Args:
        config: The recipe's section.
        workers_per_engine: Processes of an engine that hold a part of the model.

    Raises:
        TransportError: the cluster cannot do what the recipe asks for.
    """

    def __init__(self, config: PublishingConfig, workers_per_engine: int = 1) -> None:
        nodes = sum(node["Alive"] for node in ray.nodes())
        self._transport = choose_transport(config, int(ray.cluster_resources().get("GPU", 0)), nodes)
        self._config = config
        self._workers_per_engine = workers_per_engine
        self._last: Delivery | None = None
        self._parties: tuple[Any, ...] = ()

    def send(self, ranks: Sequence[Any], engines: Sequence[Any], version: int, bucket_bytes: int | None = None) -> Sent:
        """Sends and waits until all engines have loaded.

        Args:
            ranks: Handles of all `LearnerWorker`.
            engines: Ray actor handles with ``update_weights(delivery)``.
            version: Of the weights that the ranks hold now.
            bucket_bytes: Instead of the recipe's.

        Raises:
            WeightMismatchError: an engine did not get what was sent.
            ActorCallError: an engine or a rank failed, died or hangs. None of the others waits for it any more, so that
                this can be called again, with those that live.
        """
        bucket_bytes = bucket_bytes or self._config.bucket_mib * 2**20
        parties = (bucket_bytes, *ranks, *engines)
        if self._last is None or parties != self._parties:
            self._last, self._parties = self._opened(ranks, len(engines), bucket_bytes), parties
        delivery = replace(self._last, version=version, number=self._last.number + 1)
        # Whatever fails from here on, the link is not used again.
        self._last = None
        sends = [rank.send_weights.remote(delivery) for rank in ranks]
        receptions = [engine.update_weights.remote(delivery.to_engine(at)) for at, engine in enumerate(engines)]
        names = [f"learner rank {at}" for at in range(len(ranks))] + [f"engine {at}" for at in range(len(engines))]
        try:
            answers = wait_all([*sends, *receptions], names)
        except ActorCallError as error:
            call_off(delivery, error)
            ray.wait(
                [*sends, *receptions],
                num_returns=len(names),
                timeout=delivery.timeout_seconds + GRACE_SECONDS,
                fetch_local=False,
            )
            raise
        sent, receipts = Sent(delivery, answers[0]), answers[len(ranks) :]
        verify_receipts(sent, receipts)
        self._last = delivery
        return sent

    def _opened(self, ranks: Sequence[Any], engines: int, bucket_bytes: int) -> Delivery:
        """A link that nothing has been sent over yet."""
        address, port, buckets = wait_all([ranks[0].open_publishing.remote(bucket_bytes)], "learner rank")[0]
        directory = self._config.directory
        return Delivery(
            link=uuid.uuid4().hex,
            number=0,
            transport=self._transport,
            address=address,
            port=port,
            version=0,
            buckets=buckets,
            ranks=len(ranks),
            engines=engines,
            workers=self._workers_per_engine,
            verification=self._config.verification,
            timeout_seconds=self._config.timeout_seconds,
            directory=None if directory is None else str(directory.resolve()),
        )


def choose_transport(config: PublishingConfig, gpus: int, nodes: int) -> Transport:
    """The transport for a cluster.

    Args:
        config: What the recipe asks for.
        gpus: Of the whole cluster.
        nodes: Of the cluster.

    Raises:
        TransportError: it is impossible there.
    """
    if config.transport == "auto":
        if gpus:
            return "nccl"
        return "shared_memory" if nodes == 1 else "gloo"
    if config.transport in ("nccl", "cuda_ipc") and not gpus:
        raise TransportError(
            f"publishing.transport: {config.transport} needs GPUs, and the cluster has none",
            "choose auto, shared_memory or gloo",
        )
    return config.transport


def verify_receipts(sent: Sent, receipts: Sequence[WeightReceipt]) -> None:
    """Compares what engines say with what was sent.

    Raises:
        WeightMismatchError: an engine serves another version, or computed another checksum.
    """
    version, buckets = sent.delivery.version, sent.delivery.buckets
    for engine, receipt in enumerate(receipts):
        if receipt.version != version:
            raise WeightMismatchError(f"engine {engine} serves weights {receipt.version}, but {version} were published")
        if len(receipt.checksums) != len(sent.checksums):
            raise WeightMismatchError(
                f"engine {engine} got {len(receipt.checksums)} buckets of weights {version}, not {len(sent.checksums)}"
            )
        for bucket, ours, theirs in zip(buckets, sent.checksums, receipt.checksums, strict=True):
            if ours != theirs:
                raise WeightMismatchError(
                    f"engine {engine} computed checksum {theirs} of weights {version}, {bucket.span}, the learner "
                    f"{ours}: bytes were changed on the way"
                )


def verify_probe(
    learner: Sequence[Sequence[float]], engines: Sequence[Sequence[Sequence[float]]], tolerance: float
) -> float:
    """Compares log-probs of the probe.

    Args:
        learner: For each probe sequence the learner's log-probs of all tokens but the first.
        engines: The same for each engine.
        tolerance: Largest accepted absolute difference.

    Returns:
        The largest absolute difference.

    Raises:
        WeightMismatchError: it is over the tolerance, not finite, or an engine gave another number of log-probs.
    """
    largest = 0.0
    for engine, answers in enumerate(engines):
        if [len(answer) for answer in answers] != [len(expected) for expected in learner]:
            raise WeightMismatchError(f"engine {engine} answered the probe with another number of log-probs")
        for index, (answer, expected) in enumerate(zip(answers, learner, strict=True)):
            gap = float(np.max(np.abs(np.asarray(answer, np.float64) - np.asarray(expected, np.float64))))
            # Written so that a NaN fails.
            if not gap <= tolerance:
                raise WeightMismatchError(
                    f"engine {engine} differs from the learner by {gap:.3g} in the log-probs of probe sequence "
                    f"{index}, more than {tolerance:g}: it does not serve the weights that it received"
                )
            largest = max(largest, gap)
    return largest


def probe_ids(trained: Sequence[npt.NDArray[np.int64]], vocabulary: int) -> list[list[int]]:
    """Token ids to compare log-probs on: what was trained on last, else random ones.

    Args:
        trained: int64 ``[length]`` each, sequences of the last update; may be empty.
        vocabulary: Number of token ids.

    Returns:
        At most ``PROBE_SEQUENCES`` sequences of 2 to ``PROBE_TOKENS`` tokens.
    """
    if trained:
        return [ids[:PROBE_TOKENS].tolist() for ids in trained[:PROBE_SEQUENCES]]
    generator = np.random.default_rng(0)
    random_ids: list[list[int]] = generator.integers(0, vocabulary, (PROBE_SEQUENCES, PROBE_TOKENS // 2)).tolist()
    return random_ids


def probe_sequence(ids: Sequence[int]) -> TrainingSequence:
    """A sequence of which the log-probs of every token but the first are asked for."""
    mask = np.ones(len(ids), dtype=np.bool_)
    mask[0] = False
    return TrainingSequence(
        np.asarray(ids, dtype=np.int64), mask, np.zeros(len(ids), dtype=np.float32), 0.0, GroupKind.EPISODE, "probe"
    )
