"""The recipe's sections on inference: sampling, self-correction, evaluation."""

from enum import StrEnum
from typing import Final, Self

from pydantic import Field, model_validator

from thor_ray.config.section import Section

USUAL_SAMPLES: Final = 4
"""Samples per problem in the paper's Avg@4."""


class SamplingConfig(Section):
    """How one trajectory is sampled."""

    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0 means all tokens.")
    max_rounds: int = Field(5, ge=0, description="Executed code blocks per trajectory (spec A.8).")
    max_new_tokens: int = Field(256, ge=1, description="Sampled tokens per trajectory, discarded attempts excluded.")


class RepairStrategy(StrEnum):
    """What self-correction throws away of a trajectory whose program failed (spec F.2)."""

    ACTION_ONLY = "action_only"
    """The program: the thought stays, and its opening fence."""
    STEP_SUFFIX = "step_suffix"
    """The program and the last tokens of the thought before it, as THOR does."""
    FULL_REPLAN = "full_replan"
    """Everything: the solution begins anew."""


class CorrectionConfig(Section):
    """Self-correction at inference (spec F.1): throw the failed attempt away and sample again."""

    strategy: RepairStrategy = Field(
        RepairStrategy.STEP_SUFFIX, description="What is thrown away; attempts count per solution if it is everything."
    )
    attempts: int = Field(4, ge=1, description="N_corr, attempts per failed step.")
    suffix_tokens: int = Field(8, ge=0, description="L_suf, tokens cut from the failed step's thought.")


class EvaluationConfig(Section):
    """Avg@k on the held-out problems, or on benchmarks (spec G.1)."""

    benchmarks: tuple[str, ...] = Field(
        (), description="Registered benchmarks that `thor eval` asks; empty asks the held-out problems."
    )
    samples_per_problem: int | None = Field(
        None, ge=1, description=f"k; null is each benchmark's own, and {USUAL_SAMPLES} for other problems."
    )
    strategies: tuple[RepairStrategy | None, ...] = Field(
        (None,), min_length=1, description="What `thor eval` compares; null is no self-correction."
    )
    sampling: SamplingConfig = SamplingConfig(temperature=0.6, top_k=50)
    correction: CorrectionConfig = CorrectionConfig()

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for field, values in (("benchmarks", self.benchmarks), ("strategies", self.strategies)):
            if len(set(values)) < len(values):
                raise ValueError(f"{field} names one of its values twice: {list(values)}")
        return self

    def samples(self, usual: int = USUAL_SAMPLES) -> int:
        """Samples per problem, of problems that usually get ``usual``."""
        return self.samples_per_problem or usual
