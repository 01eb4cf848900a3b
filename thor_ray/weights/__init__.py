"""How weights travel from the learner to the engines, and how both sides know that they arrived (invariant 8).

Parameters are packed one after the other into buckets of bytes. What lies where is planned once, from names and
shapes alone (`buckets`). One sequence of calls, gather → pack → post and take → verify → load, brings the buckets over
(`transfer`), whichever wire carries them: shared memory, a broadcast, CUDA IPC or files (`links`). A board in the
leading learner rank's process says how far everybody is; whoever waits for too long reads from it who is to blame
(`board`).
"""

from thor_ray.weights.board import Board, TransferHangError, call_off
from thor_ray.weights.buckets import (
    ALIGNMENT,
    BUCKET_BYTES,
    Bucket,
    ParameterFacts,
    TensorEntry,
    WeightTransferError,
    pack,
    plan_buckets,
    plan_pipeline,
    unpack,
)
from thor_ray.weights.checksums import Verification, checksum, combined_checksum
from thor_ray.weights.delivery import Delivery, Transport, WeightReceipt
from thor_ray.weights.transfer import NamedTensors, WeightReceiver, WeightSender

__all__ = [
    "ALIGNMENT",
    "BUCKET_BYTES",
    "Board",
    "Bucket",
    "Delivery",
    "NamedTensors",
    "ParameterFacts",
    "TensorEntry",
    "TransferHangError",
    "Transport",
    "Verification",
    "WeightReceipt",
    "WeightReceiver",
    "WeightSender",
    "WeightTransferError",
    "call_off",
    "checksum",
    "combined_checksum",
    "pack",
    "plan_buckets",
    "plan_pipeline",
    "unpack",
]
