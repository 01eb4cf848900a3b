"""Bringing weights to the engines, and making sure that they arrived (invariant 8).

Buckets go from rank 0 to the engines through Ray's object store; the driver sees references and checksums only.
After every publication two things must hold: each engine computed the manifest's checksum from the bytes it got, and
each gives the learner's log-probs on a probe. A learner whose updates never reach the engine is the most common
silent failure of such systems.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import ray

from learners.sequences import TrainingSequence
from thor_ray.trajectory import GroupKind
from thor_ray.weights import WeightManifest, WeightReceipt, WeightTransferError, pack_buckets

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE: Final[Mapping[str, float]] = {"float32": 1e-3, "bfloat16": 0.3}
"""Largest accepted difference of log-probs, engine against learner, by dtype of the weights. Kernels of the two round
differently: in float32 by 1e-5, in bfloat16 by 0.1 to 0.25, so that there the checksum is the stricter test."""

PROBE_SEQUENCES: Final = 4
PROBE_TOKENS: Final = 64
"""Most tokens of a probe sequence."""


class WeightMismatchError(WeightTransferError):
    """An engine does not serve the weights that were published. Nothing that it samples may be trained on."""


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """One version in the object store.

    Attributes:
        buckets: References to uint8 arrays ``[nbytes]``, in the manifest's order.
        manifest: What they hold.
    """

    buckets: list[Any]
    manifest: WeightManifest


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


def put_weights(parameters: Iterable[tuple[str, "Tensor"]], version: int, bucket_bytes: int) -> PublishedWeights:
    """Packs parameters and puts each bucket into the object store as soon as it is full."""
    buckets, manifests = [], []
    for payload, manifest in pack_buckets(parameters, bucket_bytes):
        buckets.append(ray.put(payload))
        manifests.append(manifest)
    return PublishedWeights(buckets, WeightManifest(version, tuple(manifests)))


def verify_receipts(manifest: WeightManifest, receipts: Sequence[WeightReceipt]) -> None:
    """Compares what engines say with what was sent.

    Raises:
        WeightMismatchError: an engine serves another version, or computed another checksum.
    """
    for engine, receipt in enumerate(receipts):
        if receipt.version != manifest.version:
            raise WeightMismatchError(
                f"engine {engine} serves weights {receipt.version}, but {manifest.version} were published"
            )
        if receipt.checksum != manifest.checksum:
            raise WeightMismatchError(
                f"engine {engine} computed checksum {receipt.checksum} of weights {manifest.version}, "
                f"the learner {manifest.checksum}: bytes were changed on the way"
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
