"""The recipe's sections on learning: learner ranks, optimizer, cold start."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from thor_ray.config.section import Section


class OptimizerConfig(Section):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-6, ge=0)
    schedule: Literal["constant", "linear"] = Field("constant", description="After warm-up; linear decays to zero.")
    warmup_updates: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)


class LearnerConfig(Section):
    """DeepSpeed ranks."""

    ranks: int = Field(1, ge=1)
    zero_stage: Literal[0, 1, 2, 3] = 2
    micro_batch_tokens: int = Field(
        16384, ge=128, description="Tokens per rank and forward pass, padding included where there is any."
    )
    packing: bool = Field(
        True, description="Put sequences one after the other, without padding; needs full attention in every layer."
    )
    gradient_checkpointing: bool = False
    max_skipped_updates: int = Field(
        3, ge=1, description="Updates in a row that a loss or gradient which is not finite may cost before the run stops."
    )
    timeout_seconds: float = Field(
        1800.0, gt=0, description="After which a rank that gives no answer counts as hung, and the run stops."
    )
    checkpoint_every: int = Field(
        1, ge=0, description="Rounds of RL, or epochs of the cold start, between checkpoints; 0 writes none."
    )
    checkpoints_kept: int = Field(2, ge=1, description="Newest checkpoints of a stage that are kept until it is over.")


class ColdStartConfig(Section):
    """SFT on TIRGen data (spec section C). Defaults are the paper's."""

    demonstrations: Path | None = Field(None, description="Recorded demonstrations; null are those of the same run.")
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(256, ge=1, description="Sequences per update, over all ranks.")
    mask_observations: bool = Field(True, description="Observations are conditioning only (spec C [N]).")
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-6)
