"""Which policy the ranks of a learner hold, and what they say of it."""

from dataclasses import dataclass, field
from pathlib import Path

from thor_ray.config import LoraConfig, OffloadConfig


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Which policy a rank trains, and how it holds it.

    Attributes:
        path: Hugging Face model directory, readable on every rank's node.
        dtype: ``float32`` or ``bfloat16``.
        zero_stage: 0 to 3.
        gradient_checkpointing: Trade a second forward pass for memory.
        packing: Micro-batches are packed.
        threads: CPU threads of this rank.
        offload: What ZeRO keeps outside the GPU.
        lora: Adapters that train instead of the policy's weights.
        sequence_parallel: Ranks that share each sequence; only with ``packing``.

    Raises:
        ValueError: bfloat16 without ZeRO, where DeepSpeed has no float32 buffer to add gradients up in, so that they
            would depend on the split into micro-batches.
    """

    path: Path
    dtype: str
    zero_stage: int
    gradient_checkpointing: bool
    packing: bool
    threads: int
    offload: OffloadConfig = field(default_factory=OffloadConfig)
    lora: LoraConfig | None = None
    sequence_parallel: int = 1

    def __post_init__(self) -> None:
        if self.dtype == "bfloat16" and self.zero_stage == 0:
            raise ValueError(
                "learner.zero_stage: 0 with policy.dtype: bfloat16 would add up gradients in bfloat16; use stage 1"
            )


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the driver must know of the policy.

    Attributes:
        vocabulary: Number of token ids.
        fingerprint: Of names and shapes of all parameters.
        device: What computes it, as CUDA calls it; ``cpu`` otherwise.
    """

    vocabulary: int
    fingerprint: str
    device: str
