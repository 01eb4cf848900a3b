"""The derived table: what the numbers of a recipe come to."""

import math
from collections.abc import Iterator
from pathlib import Path

from thor_ray.config import Recipe
from thor_ray.planning.memory import GIBIBYTE, RoleMemory, engine_memory, learner_memory, shared_memory
from thor_ray.planning.shape import ModelShape, shape_of
from thor_ray.preflight import Fault


def derived_rows(recipe: Recipe, model: Path) -> dict[str, str]:
    """Names and values, in the order in which things happen.

    Args:
        recipe: Any valid one.
        model: Directory of the policy; it need not exist if it is named as one of the paper's base models.
    """
    shape = shape_of(model)
    return _sampling_rows(recipe) | _learning_rows(recipe) | _actor_rows(recipe) | _memory_rows(recipe, model, shape)


def memory_faults_of(recipe: Recipe, model: Path) -> Iterator[Fault]:
    """Roles that would not fit the GPUs that the recipe is made for; nothing where it names none."""
    memory, shape = recipe.placement.gpu_memory_gib, shape_of(model)
    if memory is None or shape is None:
        return
    learner, engine = learner_memory(shape, recipe), engine_memory(shape, recipe)
    shared = shared_memory(shape, recipe) if recipe.placement.mode == "colocated" else None
    if shared is not None and shared.sampling.total > memory * GIBIBYTE:
        yield Fault(
            f"placement.mode: colocated needs about {_gib(shared.sampling.total)} of each GPU of {memory:g} GiB while "
            f"engines sample: {_parts(shared.sampling)}",
            "lower engine.gpu_memory_utilization",
        )
    if shared is not None and shared.learning.total > memory * GIBIBYTE:
        yield Fault(
            f"placement.mode: colocated needs about {_gib(shared.learning.total)} of each GPU of {memory:g} GiB while "
            f"the learner works: {_parts(shared.learning)}",
            _learner_remedy(recipe, learner.dominant),
        )
    elif shared is None and learner.total > memory * GIBIBYTE:
        yield Fault(
            f"a learner rank needs about {_gib(learner.total)} of the {memory:g} GiB of its GPU: {_parts(learner)}",
            _learner_remedy(recipe, learner.dominant),
        )
    if engine.cache_tokens < recipe.policy.max_context:
        yield Fault(
            f"an engine's key-value cache would hold {max(engine.cache_tokens, 0)} tokens, fewer than "
            f"policy.max_context {recipe.policy.max_context}: {_parts(engine)}",
            "raise engine.gpu_memory_utilization or engine.tensor_parallel, or lower engine.max_sequences",
        )


def _sampling_rows(recipe: Recipe) -> dict[str, str]:
    rl = recipe.rl
    episodes = rl.groups_per_round * rl.group_size
    rows = {"prompts per round": f"{rl.groups_per_round}"}
    if rl.step_level and rl.step_groups_per_round:
        most = min(rl.step_groups_per_round, rl.groups_per_round)
        rows["groups per round"] = (
            f"{rl.groups_per_round} of {rl.group_size}, and up to {most} steps of {rl.step_group_size}"
        )
        rows["sequences per round"] = f"{episodes}, and up to {most * rl.step_group_size} of steps"
    else:
        rows["groups per round"] = f"{rl.groups_per_round} of {rl.group_size}"
        rows["sequences per round"] = f"{episodes}"
    return rows


def _learning_rows(recipe: Recipe) -> dict[str, str]:
    rl, learner = recipe.rl, recipe.learner
    prompts = rl.groups_per_round / rl.updates_per_round
    longest = learner.row_tokens // recipe.policy.max_context
    return {
        "updates per round": f"{rl.updates_per_round}, of {prompts:g} prompts and {prompts * rl.group_size:g} episodes each",
        "rounds": f"{rl.rounds}, {rl.rounds * rl.updates_per_round} updates in all",
        "tokens per micro-batch": f"{learner.micro_batch_tokens} on each rank, {longest} of the longest sequences",
        "cold start": f"{recipe.cold_start.batch_size} sequences per update, {recipe.cold_start.epochs} epochs",
    }


def _actor_rows(recipe: Recipe) -> dict[str, str]:
    engine, learner = recipe.engine, recipe.learner
    gpus = engine.actors * engine.tensor_parallel
    rows = {
        "engines × TP": f"{engine.actors} × {engine.tensor_parallel}, {engine.max_sequences} sequences at once each",
        "learner ranks": f"{learner.ranks}, ZeRO {learner.zero_stage}"
        + (f", {learner.sequence_parallel} to a sequence" if learner.sequence_parallel > 1 else ""),
    }
    if recipe.placement.gpu_memory_gib is not None:
        together = recipe.placement.mode == "colocated"
        count = f"{gpus}, shared" if together else f"{gpus} + {learner.ranks} = {gpus + learner.ranks}"
        rows["GPUs"] = f"{count}, of {recipe.placement.gpu_memory_gib:g} GiB"
    return rows


def _memory_rows(recipe: Recipe, model: Path, shape: ModelShape | None) -> dict[str, str]:
    if shape is None:
        return {"memory": f"not estimated: {model} has no config.json of a dense decoder"}
    engine, learner = engine_memory(shape, recipe), learner_memory(shape, recipe)
    rows = {
        "parameters": f"{shape.parameters / 1e9:.3g} billion" if shape.parameters >= 1e8 else f"{shape.parameters}",
        "memory of an engine": f"{_summary(engine)}; the cache holds {max(engine.cache_tokens, 0)} tokens",
        "memory of a rank": _summary(learner),
    }
    if recipe.placement.mode == "colocated" and recipe.placement.gpu_memory_gib is not None:
        shared = shared_memory(shape, recipe)
        rows["memory of a GPU"] = (
            f"{_gib(shared.sampling.total)} while engines sample, {_gib(shared.learning.total)} while the learner works"
        )
    return rows


def _summary(role: RoleMemory) -> str:
    return f"{_gib(role.total)}, most of it {role.dominant}: {_parts(role)}"


def _parts(role: RoleMemory) -> str:
    return ", ".join(f"{name} {_gib(size)}" for name, size in role.parts.items() if size)


def _gib(size: int) -> str:
    return f"{size / GIBIBYTE:.1f} GiB" if size >= GIBIBYTE else f"{size / 2**20:.0f} MiB"


def _learner_remedy(recipe: Recipe, dominant: str) -> str:
    learner = recipe.learner
    if dominant == "activations":
        if not learner.gradient_checkpointing:
            return "set learner.gradient_checkpointing: true"
        least = math.ceil(recipe.policy.max_context / learner.sequence_parallel)
        return f"lower learner.micro_batch_tokens, down to {least} at the least, or raise learner.sequence_parallel"
    if learner.zero_stage < 3:
        return "raise learner.ranks or learner.zero_stage"
    return "raise learner.ranks, or set learner.offload.optimizer: cpu"
