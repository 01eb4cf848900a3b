"""The recipe's sections on learning: learner ranks, optimizer, cold start."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.section import Section


class OptimizerConfig(Section):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-6, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="After warm-up; linear and cosine decay to zero."
    )
    warmup_updates: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)


class OffloadConfig(Section):
    """What ZeRO keeps outside the GPU (ZeRO-Offload, arXiv 2101.06840; ZeRO-Infinity, arXiv 2104.07857)."""

    optimizer: Literal["none", "cpu", "nvme"] = Field("none", description="Its moments and float32 weights.")
    parameters: Literal["none", "cpu", "nvme"] = Field("none", description="The weights; needs learner.zero_stage: 3.")
    nvme_path: Path | None = Field(None, description="Directory on a fast disk of each rank's node, for nvme.")

    @model_validator(mode="after")
    def _path_where_used(self) -> Self:
        if ("nvme" in (self.optimizer, self.parameters)) != (self.nvme_path is not None):
            raise ValueError("offload.nvme_path and offloading to nvme need each other")
        return self


class LoraConfig(Section):
    """Low-rank adapters (arXiv 2106.09685) instead of all weights; needs the package peft."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1, description="Adapters count alpha / rank times.")
    layers: tuple[str, ...] = Field(
        (), description="Names of linear layers, such as q_proj; empty is all of them but the head."
    )


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
    sequence_parallel: int = Field(
        1,
        ge=1,
        description="Ranks that share each sequence (DeepSpeed Ulysses), for long contexts; divides ranks, and the "
        "model's attention heads.",
    )
    gradient_checkpointing: bool = False
    offload: OffloadConfig = OffloadConfig()
    lora: LoraConfig | None = Field(None, description="Train adapters only; null trains all weights.")
    max_skipped_updates: int = Field(
        3,
        ge=1,
        description="Updates in a row that a loss or gradient which is not finite may cost before the run stops.",
    )
    timeout_seconds: float = Field(
        1800.0, gt=0, description="After which a rank that gives no answer counts as hung, and the run stops."
    )
    checkpoint_every: int = Field(
        1, ge=0, description="Rounds of RL, or epochs of the cold start, between checkpoints; 0 writes none."
    )
    checkpoints_kept: int = Field(2, ge=1, description="Newest checkpoints of a stage that are kept until it is over.")

    @property
    def replicas(self) -> int:
        """Ranks, or groups of ranks that share sequences, with sequences of their own."""
        return self.ranks // self.sequence_parallel

    @property
    def row_tokens(self) -> int:
        """Tokens of one micro-batch, which the ranks that share sequences take through the model together."""
        return self.micro_batch_tokens * self.sequence_parallel

    @model_validator(mode="after")
    def _sequences_that_can_be_shared(self) -> Self:
        if self.ranks % self.sequence_parallel:
            raise ValueError(
                f"learner.sequence_parallel is {self.sequence_parallel}, which does not divide "
                f"learner.ranks {self.ranks}: groups of ranks must be equally large"
            )
        if self.sequence_parallel > 1 and not self.packing:
            raise ValueError("learner.sequence_parallel shares packed sequences only; set learner.packing: true")
        return self

    @model_validator(mode="after")
    def _stage_that_can_offload(self) -> Self:
        if self.offload.parameters != "none" and self.zero_stage != 3:
            raise ValueError(f"learner.offload.parameters needs zero_stage: 3, not {self.zero_stage}")
        if self.offload.optimizer != "none" and self.zero_stage == 0:
            raise ValueError("learner.offload.optimizer does nothing with zero_stage: 0; set 1, 2 or 3")
        if self.offload.optimizer == "nvme" and self.zero_stage != 3:
            raise ValueError(f"learner.offload.optimizer: nvme needs zero_stage: 3, not {self.zero_stage}")
        return self


class ColdStartConfig(Section):
    """SFT on TIRGen data (spec section C). Defaults are the paper's."""

    demonstrations: Path | None = Field(None, description="Recorded demonstrations; null are those of the same run.")
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(256, ge=1, description="Sequences per update, over all ranks.")
    mask_observations: bool = Field(True, description="Observations are conditioning only (spec C [N]).")
    evaluate_every: int = Field(
        0, ge=0, description="Updates between evaluations on held-out problems (pass@k); 0 is never."
    )
    checkpoint_every: int = Field(
        0,
        ge=0,
        description="Updates between checkpoints; 0 takes them at the end of epochs, as learner.checkpoint_every says.",
    )
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-6)
