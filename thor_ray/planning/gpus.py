"""What the data sheets of GPUs say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a data sheet says.

    Attributes:
        memory_gib: That a process can have.
        bytes_per_second: Of its memory.
        flops: bfloat16 operations a second, dense.
    """

    memory_gib: float
    bytes_per_second: float
    flops: float


GPUS: Final[Mapping[str, Gpu]] = {
    "a100": Gpu(79, 2.04e12, 312e12),
    "h100": Gpu(79, 3.35e12, 989e12),
    "h200": Gpu(139, 4.8e12, 989e12),
    "b200": Gpu(167, 8.0e12, 2250e12),
    "l40s": Gpu(44, 0.864e12, 362e12),
}
"""By name; NVIDIA's data sheets of the SXM modules, A100 with 80 GB."""


def gpu_named(device: str) -> Gpu | None:
    """The data sheet of a device as CUDA names it, such as ``NVIDIA H100 80GB HBM3``; ``None`` where we have none."""
    words = device.lower().replace("-", " ").split()
    return next((gpu for name, gpu in GPUS.items() if name in words), None)
