"""Every figure that a run records: its name, unit and meaning, by the part of a run that records it.

One definition for ``thor config metrics``, docs/metrics.md, the page, the Grafana board and whoever else shows figures.
A name stands for itself, or with ``<what>`` in it for one figure by each of its variants.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import Final


class Unit(StrEnum):
    """What a figure is counted in."""

    SHARE = "share, 0 to 1"
    COUNT = "count"
    MEAN_COUNT = "mean count"
    REWARD = "reward"
    TOKENS = "tokens"
    TOKENS_PER_SECOND = "tokens/s"
    SECONDS = "s"
    NATS = "nats"
    RATIO = "ratio"
    NORM = "norm"
    LOSS = "loss"
    RATE = "learning rate"
    VERSION = "weight version"
    FLAG = "0 or 1"


class Shape(StrEnum):
    """What a figure looks like in ``metrics.jsonl``."""

    NUMBER = "number"
    INTERVAL = "[low, high]"
    BY_NAME = "{name: count}"


class Scope(StrEnum):
    """The part of a run that records figures together."""

    ROUND = "a round of RL"
    PUBLICATION = "a publication of weights"
    UPDATE = "an update of the cold start"
    EVALUATION = "an evaluation"
    STREAMED_EVALUATION = "an evaluation by `thor eval`"
    TIRGEN = "the making of demonstrations"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure, or a family of figures that differ in one part of their name.

    Attributes:
        name: As recorded; ``finish/<reason>`` is a family.
        unit: What it is counted in.
        meaning: What it says, over what.
        variants: What may stand for ``<...>`` in a family's name.
        shape: Of its value.
    """

    name: str
    unit: Unit
    meaning: str
    variants: tuple[str, ...] = ()
    shape: Shape = Shape.NUMBER

    @property
    def names(self) -> tuple[str, ...]:
        """All names under which it is recorded."""
        if not self.variants:
            return (self.name,)
        before, _, rest = self.name.partition("<")
        after = rest.partition(">")[2]
        return tuple(f"{before}{variant}{after}" for variant in self.variants)


FINISH_REASONS: Final = ("answered", "length", "rounds_exhausted", "failed_code_stop", "step_done", "aborted")
GRADES: Final = ("correct", "wrong", "no_box", "unparsable", "timeout", "error")
EXECUTIONS: Final = ("ok", "no_output", "exception", "timeout")
TRAJECTORY_REJECTS: Final = ("no_reward", "failed_code", "short_response", "box_not_in_tail", "repetition", "void_turn")
GROUP_REJECTS: Final = ("too_few_survivors", "zero_variance")
STREAM_DROPS: Final = ("stale", "lost")
PASS_SIZES: Final = ("2", "4", "8", "16")
LAGS: Final = ("lag_0", "lag_1", "lag_2", "lag_3", "older")
_BY_LAG: Final = ", by how many versions the sequence's oldest token lies behind."

_ROUND: Final = (
    Metric("reward", Unit.REWARD, "Mean reward of the episodes that have one."),
    Metric("correct", Unit.SHARE, "Of judged episodes, those whose answer equals the gold answer."),
    Metric("code_ratio", Unit.SHARE, "Of episodes, those that executed at least one block: the rate of tool calls."),
    Metric("calls", Unit.MEAN_COUNT, "Executed blocks of an episode."),
    Metric("failing_share", Unit.SHARE, "Of the episodes' executed blocks, those that failed."),
    Metric("code/<status>", Unit.SHARE, "Of the episodes' executed blocks, those that ended so.", EXECUTIONS),
    Metric("void_turns", Unit.SHARE, "Of episodes, those with a turn that brought neither a program nor an answer."),
    Metric("grade/<status>", Unit.SHARE, "Of graded episodes, those that the grader gave this status.", GRADES),
    Metric("finish/<reason>", Unit.SHARE, "Of episodes, those that ended for this reason.", FINISH_REASONS),
    Metric("tokens", Unit.TOKENS, "Mean sampled tokens that stand in an episode."),
    Metric("step_reward", Unit.REWARD, "Mean reward of the continuations of failed steps that have one."),
    Metric("episodes", Unit.COUNT, "Episodes sampled."),
    Metric("steps", Unit.COUNT, "Continuations of failed steps sampled."),
    Metric("infra_errors", Unit.COUNT, "Blocks of episodes that our own failure kept from being executed."),
    Metric("sampled_tokens", Unit.TOKENS, "All that the round sampled: continuations and discarded attempts as well."),
    Metric("tokens_per_second", Unit.TOKENS_PER_SECOND, "All sampled tokens over the wall time of sampling."),
    Metric(
        "cached_share", Unit.SHARE, "Of the prompt tokens of episodes' requests, those found in the engine's cache."
    ),
    Metric("step_cached_share", Unit.SHARE, "The same of the requests for continuations of failed steps."),
    Metric("sampling_seconds", Unit.SECONDS, "Wall time of sampling episodes and continuations."),
    Metric(
        "seconds/<where>",
        Unit.SECONDS,
        "Mean time of an episode there.",
        ("engine", "programs", "queue", "grading"),
    ),
    Metric("rejected/<reason>", Unit.COUNT, "Trajectories that a filter kept from training.", TRAJECTORY_REJECTS),
    Metric("dropped/<reason>", Unit.COUNT, "Groups that do not reach the learner.", GROUP_REJECTS),
    Metric("mismatch_abs/<lag>", Unit.NATS, "Mean difference of learner and engine on a sampled token" + _BY_LAG, LAGS),
    Metric("mismatch_p99/<lag>", Unit.NATS, "Its 99th percentile" + _BY_LAG, LAGS),
    Metric("mismatch_k3/<lag>", Unit.NATS, "How far learner and engine lie apart (k3 estimate)" + _BY_LAG, LAGS),
    Metric(
        "mismatch_limited/<lag>",
        Unit.SHARE,
        "Of tokens, those whose importance weight is cut or masked" + _BY_LAG,
        LAGS,
    ),
    Metric("idle/<who>", Unit.SHARE, "Of the round's time, that without work.", ("learner", "engines")),
    Metric("staleness_mean", Unit.MEAN_COUNT, "Versions that the oldest token of a problem's groups lies behind."),
    Metric("staleness_worst", Unit.COUNT, "The largest of these; at most rl.stream.max_staleness."),
    Metric("refilled", Unit.COUNT, "Problems that had nothing to teach, so that others took their place."),
    Metric("lost_groups/<reason>", Unit.COUNT, "Problems whose groups the stream dropped.", STREAM_DROPS),
)

_UPDATE: Final = (
    Metric("loss", Unit.LOSS, "What was minimised."),
    Metric("grad_norm", Unit.NORM, "Euclidean norm of the gradient before clipping."),
    Metric("skipped", Unit.SHARE, "Updates not made, because loss or gradient were not finite."),
    Metric("learning_rate", Unit.RATE, "Of the update."),
    Metric("sequences", Unit.COUNT, "Sequences in the mini-batch."),
    Metric("tokens", Unit.TOKENS, "Tokens in the loss."),
    Metric("seconds", Unit.SECONDS, "Wall time of the update."),
    Metric("tokens_per_second", Unit.TOKENS_PER_SECOND, "All tokens of the mini-batch over that time."),
    Metric("padding", Unit.SHARE, "Of the tokens that went through the model, those that were padding."),
    Metric(
        "mfu",
        Unit.SHARE,
        "Model FLOPs utilization: operations that the update needs, padding and recomputation left out, over those of the "
        "data sheet. On GPUs whose data sheet is known (`thor_ray/planning/gpus.py`) only.",
    ),
)

_POLICY_UPDATE: Final = (
    Metric("episode_tokens", Unit.TOKENS, "Tokens of episodes in the loss."),
    Metric("step_tokens", Unit.TOKENS, "Tokens of continuations in the loss."),
    Metric("ratio_mean", Unit.RATIO, "Probability under the policy over that before the round; mean over tokens."),
    Metric("ratio_min", Unit.RATIO, "The smallest of these ratios."),
    Metric("ratio_max", Unit.RATIO, "The largest of these ratios."),
    Metric("clip_fraction", Unit.SHARE, "Of tokens, those whose ratio was clipped."),
    Metric("dual_clip_fraction", Unit.SHARE, "Of tokens, those at the bound for negative advantages."),
    Metric("update_kl", Unit.NATS, "How far the updates of the round moved the policy (k3 estimate, per token)."),
    Metric("mismatch_kl", Unit.NATS, "How far the learner's log-probs lie from the engine's (k3 estimate, per token)."),
    Metric("mismatch_max_abs", Unit.NATS, "The largest difference of both on one token."),
    Metric("importance_mean", Unit.RATIO, "Mean weight of tokens that other weights than the learner's sampled."),
    Metric("effective_samples", Unit.SHARE, "Of tokens, those that the importance weights leave: 1 on policy."),
    Metric("corrected_fraction", Unit.SHARE, "Of tokens, those that got an importance weight."),
    Metric("limited_fraction", Unit.SHARE, "Of tokens, those whose importance weight was cut or masked."),
    Metric("surprisal", Unit.NATS, "Mean of -log-prob of the sampled tokens, an estimate of the entropy."),
    Metric("reference_kl", Unit.NATS, "How far the policy is from the initial one; with rl.objective.kl_weight only."),
    Metric("entropy", Unit.NATS, "Mean entropy of next tokens; with rl.objective.entropy_weight only."),
)

_PUBLICATION: Final = (
    Metric("weights/version", Unit.VERSION, "Version that all engines serve from here on."),
    Metric("weights/verified", Unit.FLAG, "Whether checksums and a probe showed that they do."),
    Metric("weights/logprob_gap", Unit.NATS, "Largest difference of log-probs, engine against learner, on the probe."),
)

_EVALUATION: Final = (
    Metric("pass_at_1", Unit.SHARE, "Of judged samples, the correct ones."),
    Metric("pass_at_1_interval", Unit.SHARE, "Its 95 % limits, clustered by problem.", shape=Shape.INTERVAL),
    Metric(
        "pass_at/<k>", Unit.SHARE, "Chance that one of k samples of a problem is right, mean over problems.", PASS_SIZES
    ),
    Metric("code_ratio", Unit.SHARE, "Of judged samples, those that executed at least one block."),
    Metric("code_pass_rate", Unit.SHARE, "Of executed blocks, those that succeeded."),
    Metric("problems", Unit.COUNT, "Problems."),
    Metric("samples_per_problem", Unit.COUNT, "Judged samples of each problem."),
    Metric("excluded", Unit.COUNT, "Samples left out because we failed them."),
    Metric("calls", Unit.COUNT, "Executed blocks."),
    Metric("failed_calls", Unit.COUNT, "Those that failed."),
    Metric("infra_errors", Unit.COUNT, "Blocks that our own failure kept from being executed."),
    Metric("discarded_attempts", Unit.COUNT, "Failed attempts that self-correction cut away."),
    Metric("kept_tokens", Unit.TOKENS, "Mean sampled tokens that stand in a sample."),
    Metric("discarded_tokens", Unit.TOKENS, "Mean sampled tokens that were cut away."),
    Metric("cached_share", Unit.SHARE, "Of the prompt tokens of requests, those found in the engine's cache."),
    Metric("finish", Unit.COUNT, "Samples by the reason why they ended.", shape=Shape.BY_NAME),
    Metric("grades", Unit.COUNT, "Samples by the grader's status.", shape=Shape.BY_NAME),
)

_STREAMED_EVALUATION: Final = (
    Metric("samples", Unit.COUNT, "Samples that this attempt finished."),
    Metric("correct", Unit.SHARE, "Of these, the correct ones."),
    Metric("seconds", Unit.SECONDS, "Wall time of sampling."),
)

_TIRGEN: Final = (
    Metric("problems", Unit.COUNT, "Training problems."),
    Metric("demonstrations", Unit.COUNT, "Problems with a demonstration that passed all filters."),
    Metric("without_demonstration", Unit.COUNT, "Problems without one."),
    Metric("by_source", Unit.COUNT, "Demonstrations by who wrote the solution.", shape=Shape.BY_NAME),
    Metric("by_calls", Unit.COUNT, "Demonstrations by the number of their programs.", shape=Shape.BY_NAME),
    Metric("blocks", Unit.COUNT, "Programs in demonstrations."),
    Metric("failing_share", Unit.SHARE, "Of these, those that failed."),
    Metric("claims", Unit.COUNT, "Results that the generator had worked out by hand and programs replaced."),
    Metric("claims_corrected", Unit.COUNT, "Of these, those that the program's output contradicts."),
    Metric("tokens_mean", Unit.TOKENS, "Mean length of a demonstration, prompt included."),
    Metric("tokens_max", Unit.TOKENS, "The longest."),
    Metric("generated_tokens", Unit.TOKENS, "What the generator sampled for all candidates, kept or not."),
    Metric("refiner_tokens", Unit.TOKENS, "What a refiner that is a language model sampled for them."),
    Metric("sandbox_seconds", Unit.SECONDS, "Wall time of their programs."),
    Metric("generated_tokens_per_demonstration", Unit.TOKENS, "The generator's over the demonstrations."),
    Metric("refiner_tokens_per_demonstration", Unit.TOKENS, "The refiner's over the demonstrations."),
    Metric("sandbox_seconds_per_demonstration", Unit.SECONDS, "The programs' over the demonstrations."),
)


def _prefixed(prefix: str, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    return tuple(replace(metric, name=prefix + metric.name) for metric in metrics)


REGISTRY: Final[Mapping[Scope, tuple[Metric, ...]]] = {
    Scope.ROUND: (*_ROUND, *_prefixed("learner/", (*_UPDATE, *_POLICY_UPDATE))),
    Scope.PUBLICATION: _PUBLICATION,
    Scope.UPDATE: _UPDATE,
    Scope.EVALUATION: _EVALUATION,
    Scope.STREAMED_EVALUATION: _STREAMED_EVALUATION,
    Scope.TIRGEN: _TIRGEN,
}
"""All figures, in the order in which they are shown. ``learner/...`` are means over the updates of a round."""


def scopes_of(stage: str) -> tuple[Scope, ...]:
    """What the lines of a stage (``records.Stage``) hold; nothing for an unknown stage."""
    if stage.startswith("evaluate_"):
        return (Scope.EVALUATION,)
    return {
        "tirgen": (Scope.TIRGEN,),
        "cold_start": (Scope.UPDATE, Scope.PUBLICATION),
        "rl": (Scope.ROUND, Scope.PUBLICATION),
        "evaluate": (Scope.STREAMED_EVALUATION,),
    }.get(stage, ())


def metric_of(stage: str, name: str) -> Metric | None:
    """What a recorded name means in a stage; ``None`` where the registry does not know it."""
    known = chain.from_iterable(REGISTRY[scope] for scope in scopes_of(stage))
    return next((metric for metric in known if name in metric.names), None)


def unregistered(stage: str, names: Iterable[str]) -> list[str]:
    """Names that a stage recorded and the registry does not know, sorted."""
    return sorted(name for name in names if metric_of(stage, name) is None)
