"""The recipe's section ``rl``: hierarchical reinforcement learning."""

from typing import Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.inference import SamplingConfig
from thor_ray.config.learning import OptimizerConfig
from thor_ray.config.section import Section


class OffPolicyConfig(Section):
    """Importance weights ``pi_old / pi_behaviour`` for samples that the learner's weights did not make.

    Of tokens as in AReaL (arXiv 2505.24298), truncated like V-trace's (arXiv 1802.01561), or masked (IcePop,
    arXiv 2510.18855); of whole sequences they are the exact importance weights.
    """

    when: Literal["stale", "always", "never"] = Field(
        "stale",
        description="Which sequences: those with tokens of older weights, or all, so that the engine's arithmetic is "
        "made up for too.",
    )
    level: Literal["token", "sequence"] = Field("token", description="A token's own weight, or its sequence's product.")
    mode: Literal["truncate", "mask"] = Field("truncate", description="What becomes of weights out of bounds.")
    upper: float = Field(2.0, gt=1, description="Largest weight.")
    lower: float = Field(0.0, ge=0, lt=1, description="Smallest weight that is not masked out; mode mask only.")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        fields = type(self).model_fields
        # A resolved recipe states its defaults, so these must be let through.
        idle = sorted(name for name in fields if name != "when" and getattr(self, name) != fields[name].default)
        if self.when == "never" and idle:
            raise ValueError(f"off_policy.when: never leaves {', '.join(idle)} without effect: remove it")
        if self.mode == "truncate" and self.lower > 0:
            raise ValueError("off_policy.lower does nothing in mode truncate: set mode: mask, or remove it")
        return self


class ObjectiveConfig(Section):
    """``L = w_episode L_episode + w_step L_step`` (spec D.1, E.6). Defaults are the paper's, but for ``aggregation``."""

    normalise_advantages: bool = Field(
        True, description="Divide by the group's standard deviation (after equation 4); off is Dr. GRPO, 2503.20783."
    )
    ratio: Literal["token", "sequence"] = Field(
        "token",
        description="Ratio of each token, or the length-normalised one of its sequence (GSPO, 2507.18071), which needs "
        "far smaller clip bounds, such as 3e-4 and 4e-4.",
    )
    clip_low: float = Field(0.2, ge=0, lt=1, description="epsilon_low of equation 4.")
    clip_high: float = Field(0.28, ge=0, description="epsilon_high (clip-higher of DAPO, 2503.14476).")
    dual_clip: float | None = Field(
        3.0, gt=1, description="Bound on the loss for negative advantages (1912.09729); null is off."
    )
    aggregation: Literal["token_mean", "sequence_mean", "sequence_mean_token_sum_norm"] = Field(
        "token_mean",
        description="Mean over all tokens of the mini-batch (DAPO), over its sequences' means (equation 4), or over "
        "its sequences' sums divided by norm_tokens (Dr. GRPO).",
    )
    norm_tokens: int | None = Field(
        None, ge=1, description="Constant divisor of sequence_mean_token_sum_norm, such as rl.sampling.max_new_tokens."
    )
    nll_weight: float = Field(0.01, ge=0, description="alpha of equation 5, NLL on positive advantages.")
    kl_weight: float = Field(
        0.0, ge=0, description="beta, of the k3 divergence from the initial policy (GRPO, 2402.03300, equation 4)."
    )
    entropy_weight: float = Field(0.0, ge=0, description="Of the entropy bonus (PPO, 1707.06347, equation 9).")
    episode_weight: float = Field(1.0, ge=0)
    step_weight: float = Field(1.0, ge=0)
    denominator: Literal["per_level", "shared"] = Field(
        "per_level", description="Counts that the two losses are divided by: each its own (equation 10), or the sum."
    )
    mixed_batch: bool = Field(
        False,
        description="As the release (spec D.1, E.6): means within each micro-batch, which weighs by its sequences.",
    )
    off_policy: OffPolicyConfig = OffPolicyConfig()

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.episode_weight == 0 and self.step_weight == 0:
            raise ValueError("objective.episode_weight and step_weight are both 0: there would be no loss")
        return self

    @model_validator(mode="after")
    def _norm_tokens_where_used(self) -> Self:
        by_constant = self.aggregation == "sequence_mean_token_sum_norm"
        if by_constant and self.norm_tokens is None:
            raise ValueError("objective.aggregation: sequence_mean_token_sum_norm needs objective.norm_tokens")
        if not by_constant and self.norm_tokens is not None:
            raise ValueError(
                f"objective.norm_tokens does nothing with aggregation: {self.aggregation}; "
                "set sequence_mean_token_sum_norm, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _mixed_as_the_release(self) -> Self:
        if not self.mixed_batch:
            return self
        if self.denominator != "shared" or self.aggregation != "token_mean":
            raise ValueError(
                "objective.mixed_batch pools the tokens of both levels: set denominator: shared, aggregation: token_mean"
            )
        if (self.episode_weight, self.step_weight) != (1, 1):
            raise ValueError("objective.mixed_batch knows no levels: episode_weight and step_weight must be 1")
        return self


class FilterConfig(Section):
    """Which episode trajectories and groups may train (spec D.3). Defaults are the paper's."""

    failed_code: bool = Field(True, description="Drop trajectories in which a block failed (filter_code).")
    min_response_tokens: int = Field(0, ge=0, description="Drop shorter responses; the release has 151.")
    boxed_tail_tokens: int = Field(0, ge=0, description="The box must lie in the last n tokens; 0 is off, release 100.")
    repetition: bool = Field(
        False, description="Drop degenerate repetition, which has no reward anyway (spec D.2), from the group."
    )
    void_turns: bool = Field(
        False,
        description="Drop trajectories with a turn that brought neither code nor an answer (SimpleTIR, 2509.02479).",
    )
    min_survivors: float = Field(0.5, ge=0, le=1, description="Share of a group that must survive.")
    zero_variance: bool = Field(
        True, description="Drop groups whose rewards are all equal (dynamic sampling of DAPO, 2503.14476)."
    )


class RolloutStreamConfig(Section):
    """How far rollouts may run ahead of the learner (AReaL, arXiv 2505.24298)."""

    max_staleness: int = Field(
        0,
        ge=0,
        description="How many versions the oldest token of a group may lie behind the weights that it updates. 0 samples "
        "each round by itself, and repeats bitwise; more lets engines sample while the learner works.",
    )
    refill: bool = Field(
        False, description="Sample another problem for one that has nothing to teach (dynamic sampling of DAPO)."
    )
    over_sample: float | None = Field(
        None,
        gt=1,
        description="Engines rest while the learner works: this many times rl.groups_per_round problems are begun for "
        "each round, and what is not finished when there are enough is suspended, to go on later from its tokens. At "
        "most max_staleness + 1. null lets engines run on while the learner works.",
    )
    max_attempts: int = Field(3, ge=1, description="With how many engines a problem may be lost before it is dropped.")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        fields = type(self).model_fields
        options = ("refill", "max_attempts", "over_sample")
        idle = sorted(name for name in options if getattr(self, name) != fields[name].default)
        if self.max_staleness == 0 and idle:
            raise ValueError(f"rl.stream.max_staleness: 0 leaves {', '.join(idle)} without effect: remove it")
        if self.over_sample is not None and self.over_sample > self.max_staleness + 1:
            raise ValueError(
                f"rl.stream.over_sample is {self.over_sample:g}, must be at most max_staleness + 1 = "
                f"{self.max_staleness + 1}: raise max_staleness, since suspended groups keep tokens of older weights"
            )
        return self


class RLConfig(Section):
    """Hierarchical RL (spec sections D, E)."""

    rounds: int = Field(30, ge=0, description="Sampling rounds, at the most.")
    token_budget: int | None = Field(
        None,
        ge=1,
        description="Sampled tokens, step-level continuations included, after which no further round begins; null: all "
        "rounds are made. Schedules of the learning rate go by the rounds.",
    )
    groups_per_round: int = Field(16, ge=1, description="Problems sampled per round.")
    group_size: int = Field(8, ge=2, description="G, trajectories per problem.")
    updates_per_round: int = Field(1, ge=1, description="Optimizer steps per sampling round.")
    sampling: SamplingConfig = SamplingConfig()
    stop_at_failed_code: bool = Field(False, description="End a trajectory at its first failed block (spec D.3-1).")
    step_level: bool = Field(True, description="Resample failed steps (spec section E).")
    step_groups_per_round: int = Field(
        16, ge=0, description="Failed steps resampled per round, at the most; never more than problems (spec E.1)."
    )
    step_group_size: int = Field(8, ge=2, description="G of step groups.")
    suffix_tokens: int = Field(100, ge=0, description="L_suf, tokens cut from the failed thought (spec E.1).")
    no_action_reward: float | None = Field(
        None, le=0, description="Of continuations without code; null excludes them (spec E.4)."
    )
    filters: FilterConfig = FilterConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stream: RolloutStreamConfig = RolloutStreamConfig()
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
        return self

    @model_validator(mode="after")
    def _levels_that_are_sampled(self) -> Self:
        objective = self.objective
        if not self.step_level:
            if objective.denominator == "shared" and not objective.mixed_batch:
                raise ValueError("rl.objective.denominator: shared does nothing without rl.step_level")
            if objective.step_weight != 1:
                raise ValueError("rl.objective.step_weight does nothing without rl.step_level")
            if objective.episode_weight == 0:
                raise ValueError("rl.objective.episode_weight is 0 without rl.step_level: there would be no loss")
        elif objective.step_weight == 0:
            raise ValueError("rl.objective.step_weight: 0 samples steps that teach nothing; set rl.step_level: false")
        return self
