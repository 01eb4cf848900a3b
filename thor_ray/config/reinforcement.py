"""The recipe's section ``rl``: hierarchical reinforcement learning."""

from typing import Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.inference import SamplingConfig
from thor_ray.config.learning import OptimizerConfig
from thor_ray.config.section import Section


class ObjectiveConfig(Section):
    """``L = w_episode L_episode + w_step L_step`` (spec D.1, E.6)."""

    clip_low: float = Field(0.2, ge=0, lt=1)
    clip_high: float = Field(0.28, ge=0)
    dual_clip: float | None = Field(3.0, gt=1, description="Bound on the loss for negative advantages; null is off.")
    nll_weight: float = Field(0.01, ge=0, description="alpha of equation 5, NLL on positive advantages.")
    episode_weight: float = Field(1.0, ge=0)
    step_weight: float = Field(1.0, ge=0)
    denominator: Literal["per_level", "shared"] = Field(
        "per_level", description="Token counts that the two losses are divided by: each its own (paper), or the sum."
    )


class FilterConfig(Section):
    """Which episode trajectories and groups may train (spec D.3). Defaults are the paper's."""

    failed_code: bool = Field(True, description="Drop trajectories in which a block failed.")
    min_response_tokens: int = Field(0, ge=0, description="Drop shorter responses; the release has 150.")
    boxed_tail_tokens: int = Field(0, ge=0, description="The box must lie in the last n tokens; 0 is off, release 100.")
    min_survivors: float = Field(0.5, ge=0, le=1, description="Share of a group that must survive.")


class RLConfig(Section):
    """Hierarchical RL (spec sections D, E)."""

    rounds: int = Field(30, ge=0, description="Sampling rounds.")
    groups_per_round: int = Field(16, ge=1, description="Problems sampled per round.")
    group_size: int = Field(8, ge=2, description="G, trajectories per problem.")
    updates_per_round: int = Field(1, ge=1, description="Optimizer steps per sampling round.")
    sampling: SamplingConfig = SamplingConfig()
    stop_at_failed_code: bool = Field(False, description="End a trajectory at its first failed block (spec D.3-1).")
    step_level: bool = Field(True, description="Resample failed steps (spec section E).")
    step_groups_per_round: int = Field(16, ge=0, description="Failed steps resampled per round, at the most.")
    step_group_size: int = Field(8, ge=2, description="G of step groups.")
    suffix_tokens: int = Field(100, ge=0, description="L_suf, tokens cut from the failed thought (spec E.1).")
    no_action_reward: float | None = Field(None, description="Of continuations without code; null excludes them.")
    filters: FilterConfig = FilterConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluate_every: int = Field(0, ge=0, description="Rounds between evaluations on held-out problems; 0 is never.")

    @model_validator(mode="after")
    def _trainable_sampling(self) -> Self:
        if self.sampling.top_p < 1 or self.sampling.top_k > 0:
            raise ValueError(
                "rl.sampling needs top_p: 1 and top_k: 0, since the behaviour log-probs of truncated sampling are "
                "renormalised and would bias every ratio"
            )
        if self.sampling.temperature == 0:
            raise ValueError("rl.sampling.temperature must be above 0: greedy siblings are all the same")
        if not self.step_level and self.objective.denominator == "shared":
            raise ValueError("rl.objective.denominator: shared does nothing without rl.step_level")
        return self
