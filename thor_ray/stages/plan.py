"""What a run is going to do, checked and printed before anything is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import AutoConfig

from actors.codec import TokenizerCodec
from learners.ulysses import refuse_heads
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.planning import context_faults, derived_rows, memory_faults_of
from thor_ray.preflight import file_faults, model_faults, require
from thor_ray.prompt_record import prompt_faults
from thor_ray.records import Stage, read_columns
from thor_ray.stages.problem_sets import ProblemSets, problem_sets
from thor_ray.stages.tirgen_models import endpoint_faults
from thor_ray.tiny import base_model_path

SMOKE: Final = (
    Stage.EVALUATE_BASE,
    Stage.TIRGEN,
    Stage.COLD_START,
    Stage.EVALUATE_COLD_START,
    Stage.RL,
    Stage.EVALUATE_RL,
    Stage.EVALUATE_RL_SELF_CORRECTION,
)
"""The whole loop of the paper."""

TRAIN: Final = (Stage.RL, Stage.EVALUATE_RL, Stage.EVALUATE_RL_SELF_CORRECTION)
SFT: Final = (Stage.COLD_START, Stage.EVALUATE_COLD_START)
TIRGEN: Final = (Stage.TIRGEN,)

LEARNING: Final = (Stage.COLD_START, Stage.RL)
"""Stages that need learners, and leave a model directory of their own name below ``checkpoints/``, in order."""

QUICK: Final = (
    "problems.train.count=600",
    "problems.heldout.count=32",
    "tirgen.problems=400",
    "rl.rounds=3",
    "rl.groups_per_round=8",
    "evaluation.samples_per_problem=2",
)
"""Overrides of the short smoke, which shows that every part works and claims nothing about learning."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can be started.

    Attributes:
        recipe: The resolved recipe.
        stages: What is done, in order.
        model: Directory of the policy that the run begins with.
        problems: Training and held-out problems.
    """

    recipe: Recipe
    stages: tuple[Stage, ...]
    model: Path
    problems: ProblemSets


def policy_directory(recipe: Recipe) -> Path:
    """The model directory that the recipe names.

    Raises:
        PreflightError: it cannot be loaded, reads fewer tokens than the recipe's context, or was trained with other
            prompts than the recipe's.
        UserError: the recipe's template needs a chat template, and the model has none that can be used.
    """
    model = base_model_path() if recipe.policy.model == "tiny" else Path(recipe.policy.model)
    require(model_faults(model))
    require(context_faults(model, recipe.policy.max_context))
    template = recipe.policy.template
    require(prompt_faults(model, template, TokenizerCodec.from_directory(str(model)).prompt_frame(template)))
    return model


def make_plan(recipe: Recipe, stages: Sequence[Stage]) -> Plan:
    """Reads everything that the run depends on.

    Raises:
        PreflightError: the policy is not whole, does not fit the GPUs that the recipe is made for, the demonstrations are
            missing, or a model server of TIRGen does not answer.
        RecordFormatError: the demonstrations are no records of ours.
        ProblemFileError: a problem file is missing, or one of its lines is no problem.
        HeadCountError: the policy's attention heads cannot be dealt to learner.sequence_parallel ranks.
        UserError: no problem is left that fits, or a stage misses what it needs.
    """
    model = policy_directory(recipe)
    if any(stage in LEARNING for stage in stages):
        require(memory_faults_of(recipe, model))
        if recipe.learner.sequence_parallel > 1:
            refuse_heads(AutoConfig.from_pretrained(model), recipe.learner.sequence_parallel)
    if Stage.TIRGEN in stages:
        require(endpoint_faults(recipe))
    given = recipe.cold_start.demonstrations
    if Stage.COLD_START in stages and Stage.TIRGEN not in stages:
        if given is None:
            raise UserError(
                "there are no demonstrations to learn from", "set cold_start.demonstrations to a record file"
            )
        require(file_faults(given, "demonstrations"))
        if not read_columns([given], ["trajectory_id"]).num_rows:
            raise UserError(f"{given} holds no demonstrations", "build some with `thor tirgen`")
    elif given is not None:
        raise UserError(
            "cold_start.demonstrations would do nothing here: the run makes its own, or none at all",
            "remove it, or use `thor sft`",
        )
    problems = problem_sets(recipe, TokenizerCodec.from_directory(str(model)).encode_prompt)
    return Plan(recipe, tuple(stages), model, problems)


def print_plan(plan: Plan, console: Console) -> None:
    """Prints what follows from the recipe: how much is sampled, learnt and evaluated, by which actors."""
    recipe, rl, learner = plan.recipe, plan.recipe.rl, plan.recipe.learner
    rows = {
        "stages": " → ".join(stage.replace("_", " ") for stage in plan.stages),
        "policy": f"{plan.model}, {recipe.policy.dtype}, context {recipe.policy.max_context} tokens, "
        f"prompt template {recipe.policy.template}",
        "problems": f"{len(plan.problems.train)} train, {len(plan.problems.heldout)} held out",
        "actors": f"{recipe.engine.actors} × engine (TP {recipe.engine.tensor_parallel})",
    }
    if any(stage in LEARNING for stage in plan.stages):
        budget = f"{learner.micro_batch_tokens} tokens per micro-batch"
        rows["actors"] += f", {learner.ranks} × learner (ZeRO {learner.zero_stage}, {budget})"
    if plan.problems.too_long:
        rows["left out"] = f"{plan.problems.too_long} problems, too long for the context"
    if against := recipe.problems.decontamination.against:
        rows["contaminated"] = f"{plan.problems.contaminated} training problems left out, found in {', '.join(against)}"
    if Stage.COLD_START in plan.stages:
        rows["cold start"] = f"{recipe.cold_start.epochs} epochs, {recipe.cold_start.batch_size} sequences per update"
    if Stage.RL in plan.stages:
        most = min(rl.step_groups_per_round, rl.groups_per_round)
        steps = f" + up to {most} × {rl.step_group_size} steps" if rl.step_level else ""
        rows["RL round"] = (
            f"{rl.groups_per_round} problems × {rl.group_size} episodes{steps}, {rl.updates_per_round} updates"
        )
        rows["RL in all"] = (
            f"{rl.rounds} rounds, {rl.rounds * rl.groups_per_round * rl.group_size} episodes, "
            f"{rl.rounds * rl.updates_per_round} updates at the most"
        )
    evaluations = sum(stage.value.startswith("evaluate") for stage in plan.stages)
    if evaluations:
        samples = recipe.evaluation.samples()
        rows["evaluation"] = f"{evaluations} × {len(plan.problems.heldout)} problems × {samples} samples"
    # Of the derived table, what has not been said in other words.
    derived = derived_rows(recipe, plan.model)
    learning = (
        ("GPUs", "memory of a rank", "memory of a GPU") if any(stage in LEARNING for stage in plan.stages) else ()
    )
    rows |= {name: derived[name] for name in ("memory of an engine", *learning) if name in derived}
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(f"[bold]{name}", escape(value))
    console.print(table)
