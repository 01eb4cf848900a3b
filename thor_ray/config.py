"""A run's recipe: one YAML file, validated before anything starts (invariant 13).

Every field says what it means, its unit, and where its default comes from. Unknown keys are refused with the
nearest known one; options that would silently do nothing are refused too. ``thor config schema`` prints it all.
"""

import difflib
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from thor_ray.dialogue import PROMPT_TEMPLATES
from thor_ray.problem_config import ProblemsConfig, Section

RECIPES = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """A recipe that cannot run. The message names each field, its value and what is allowed."""


class PolicyConfig(Section):
    """The model that is trained."""

    model: str = Field("tiny", description="`tiny` for the shipped base policy, or a Hugging Face model directory.")
    template: str = Field(
        "bare", description=f"Prompt template, for training and evaluation alike; one of {sorted(PROMPT_TEMPLATES)}."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Of engine and learner weights.")
    max_context: int = Field(512, ge=64, description="Prompt and response together, tokens.")

    @model_validator(mode="after")
    def _known_template(self) -> Self:
        if self.template not in PROMPT_TEMPLATES:
            raise ValueError(f"template {self.template!r} is unknown; choose one of {sorted(PROMPT_TEMPLATES)}")
        return self


class SandboxConfig(Section):
    """Limits of one execution (spec sandbox.md section 4)."""

    workers: int = Field(1, ge=1, description="Warm processes per rollout actor from which executions fork.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Wall time of one execution.")
    memory_mib: int = Field(512, ge=16, description="Memory of one execution above the warm process's own.")
    preload: tuple[str, ...] = Field(("numpy", "sympy"), description="Modules imported once, before forking.")
    min_level: int = Field(
        2, ge=1, le=4, description="The least isolation to run under; `thor sandbox check` shows it."
    )


class EngineConfig(Section):
    """vLLM engines, one per rollout actor."""

    actors: int = Field(1, ge=1, description="Rollout actors.")
    tensor_parallel: int = Field(1, ge=1, description="GPUs per engine.")
    max_sequences: int = Field(128, ge=1, description="Sequences decoded at the same time by one engine.")
    kv_cache_mib: int = Field(128, ge=16, description="Key-value cache on a CPU; GPUs use gpu_memory_utilization.")
    gpu_memory_utilization: float = Field(0.8, gt=0, le=1)


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


class TirgenConfig(Section):
    """Cold-start data construction (spec section B)."""

    problems: int = Field(1500, ge=1, description="Training problems that demonstrations are built from.")
    attempts: int = Field(1, ge=0, description="Generator samples per problem; 0 uses worked solutions only.")
    temperature: float = Field(0.6, ge=0, description="Of the generator (spec B.2).")
    step_tokens: int = Field(512, ge=1, description="L_step, tokens per generator step (spec B.2).")
    worked_solutions: bool = Field(
        True, description="Fall back on the problem's own worked solution where the generator's attempt is rejected."
    )
    flawed_first: float = Field(
        0.0, ge=0, le=1, description="Share of first code blocks in a style that fails here; 0 is the paper's filter."
    )
    flawed_again: float = Field(0.0, ge=0, le=1, description="Share of second attempts in a failing style as well.")
    drop_if_solved: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drop problems which the generator solves without tools in at least this share of its attempts "
        "(spec B.7, stage 3); null keeps them.",
    )
    keep_by_calls: dict[int, float] = Field(
        {},
        description="Share of demonstrations to keep by number of programs, e.g. {1: 0.5} as in the release (spec B.7); "
        "numbers that are missing keep all.",
    )

    @model_validator(mode="after")
    def _sensible_filters(self) -> Self:
        for calls, share in self.keep_by_calls.items():
            if calls < 1 or not 0 <= share <= 1:
                raise ValueError(
                    f"tirgen.keep_by_calls: {calls}: {share} is no number of programs with a share to keep"
                )
        if self.attempts == 0 and not self.worked_solutions:
            raise ValueError("tirgen.attempts: 0 without worked_solutions leaves nothing to build demonstrations from")
        if self.attempts == 0 and self.drop_if_solved is not None:
            raise ValueError("tirgen.drop_if_solved does nothing without attempts that could solve a problem")
        if self.flawed_again > 0 and self.flawed_first == 0:
            raise ValueError("tirgen.flawed_again does nothing without flawed_first")
        return self


class OptimizerConfig(Section):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-6, ge=0)
    schedule: Literal["constant", "linear"] = Field("constant", description="After warm-up; linear decays to zero.")
    warmup_updates: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)


class ColdStartConfig(Section):
    """SFT on TIRGen data (spec section C). Defaults are the paper's."""

    demonstrations: Path | None = Field(None, description="Recorded demonstrations; null are those of the same run.")
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(256, ge=1, description="Sequences per update, over all ranks.")
    mask_observations: bool = Field(True, description="Observations are conditioning only (spec C [N]).")
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-6)


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


class LearnerConfig(Section):
    """DeepSpeed ranks."""

    ranks: int = Field(1, ge=1)
    zero_stage: Literal[0, 1, 2, 3] = 2
    micro_batch_tokens: int = Field(16384, ge=128, description="Padded tokens per rank and forward pass.")
    gradient_checkpointing: bool = False


class EvaluationConfig(Section):
    """Avg@k on the held-out problems (spec G.1)."""

    samples_per_problem: int = Field(4, ge=1)
    sampling: SamplingConfig = SamplingConfig(temperature=0.6, top_k=50)
    correction: CorrectionConfig = CorrectionConfig()


class Recipe(Section):
    """Everything that decides a run. The resolved recipe is stored in the run directory."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$", description="Names the run directory `runs/<name>`.")
    seed: int = Field(0, ge=0)
    policy: PolicyConfig = PolicyConfig()
    problems: ProblemsConfig = ProblemsConfig()
    sandbox: SandboxConfig = SandboxConfig()
    engine: EngineConfig = EngineConfig()
    learner: LearnerConfig = LearnerConfig()
    tirgen: TirgenConfig = TirgenConfig()
    cold_start: ColdStartConfig = ColdStartConfig()
    rl: RLConfig = RLConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _learnable(self) -> Self:
        if self.learner.micro_batch_tokens < self.policy.max_context:
            raise ValueError(
                f"learner.micro_batch_tokens is {self.learner.micro_batch_tokens}: a sequence of policy.max_context "
                f"{self.policy.max_context} tokens must fit a micro-batch"
            )
        if self.learner.zero_stage == 0 and self.policy.dtype == "bfloat16":
            raise ValueError(
                "learner.zero_stage 0 adds up gradients in bfloat16 and drifts; choose 1, 2 or 3, or policy.dtype float32"
            )
        return self

    @model_validator(mode="after")
    def _runs_programs_only_if_asked_for(self) -> Self:
        rounds = {
            "rl.sampling": self.rl.sampling.max_rounds,
            "evaluation.sampling": self.evaluation.sampling.max_rounds,
        }
        for where, max_rounds in rounds.items():
            if max_rounds > 0 and not PROMPT_TEMPLATES[self.policy.template].tools:
                raise ValueError(
                    f"policy.template {self.policy.template!r} asks for text alone, but {where}.max_rounds is "
                    f"{max_rounds}; set it to 0"
                )
        return self

    @model_validator(mode="after")
    def _fits_context(self) -> Self:
        for where, sampling in (("rl.sampling", self.rl.sampling), ("evaluation.sampling", self.evaluation.sampling)):
            if sampling.max_new_tokens >= self.policy.max_context:
                raise ValueError(
                    f"{where}.max_new_tokens is {sampling.max_new_tokens}, which leaves no room for a prompt in "
                    f"policy.max_context {self.policy.max_context}"
                )
        return self


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: list[str] | None = None) -> Recipe:
    """Reads a shipped recipe by name or any recipe by path, applies ``a.b=value`` overrides, validates it.

    Raises:
        RecipeError: no such recipe, not YAML, or invalid; the message lists every fault.
    """
    path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"no recipe {name_or_path!r}: neither a file nor one of {', '.join(recipe_names())}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: a recipe is a mapping, this is a {type(tree).__name__}")
    for override in overrides or []:
        _apply_override(tree, override)
    return validate_recipe(tree, str(path))


def validate_recipe(tree: dict[str, Any], origin: str) -> Recipe:
    """Validates a recipe's tree.

    Raises:
        RecipeError: lists each faulty field with its value, what is wrong, and the nearest known key.
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{origin}: " + "\n  ".join(["the recipe cannot run:", *_explain(error)])) from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise RecipeError(f"--set {override!r}: write it as section.field=value")
    *parents, leaf = key.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override!r}: {parent!r} is a value, not a section")
        node = child
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML: {error}") from error


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: no such field{_suggest(fault['loc'])}")
        elif fault["type"] == "value_error":
            lines.append(f"{where}: {fault['ctx']['error']}" if where else str(fault["ctx"]["error"]))
        else:
            lines.append(f"{where}: {fault['msg']}, got {fault['input']!r}")
    return lines


def _suggest(location: tuple[int | str, ...]) -> str:
    section: Any = Recipe
    for part in location[:-1]:
        section = section.model_fields[part].annotation
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
