"""What a split of GPUs into engines and learner ranks comes to: the real stream, in virtual time.

The simulation is that of `benches/scale_sim.py`; durations of groups and updates come from lengths and rates.
Assumed: every engine is as fast as with the sequences that it has on average, tail included; every group trains; prompts
and observations cost nothing; a problem's step groups begin when its episodes have ended.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from thor_ray.config import Recipe, RecipeError, validate_recipe
from thor_ray.errors import UserError
from thor_ray.planning.gpus import Gpu
from thor_ray.planning.lengths import Lengths, Trajectory
from thor_ray.planning.memory import GIBIBYTE, engine_memory, learner_memory, shared_memory
from thor_ray.planning.rates import Rates
from thor_ray.planning.shape import ModelShape
from thor_ray.stream import ProblemCursor, StreamConfig, TrajectoryStream
from thor_ray.stream.simulation import Simulation, World

FAMILIES_DRAWN: Final = 512
"""Of which the simulation draws the durations of groups."""

SIMULATED_GROUPS: Final = 256
"""Groups of a round that are simulated at the least, if it has as many: a larger round is simulated in small."""

WARM_UP: Final = 4
MEASURED: Final = 8
"""Rounds before figures are taken, and of which they are taken."""

WORTH_SIMULATING: Final = 0.8
"""Splits whose slower side is below this share of the best one's are not looked at more closely."""


Family = tuple[list[Trajectory], list[Trajectory]]
"""Episodes of one problem, and the continuations of its step group, of which there may be none."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is to be expected of one split.

    Attributes:
        engines: How many.
        tensor_parallel: GPUs of each.
        ranks: Learner ranks, a GPU each.
        unused: GPUs that neither can use.
        tokens_per_second: Sampled tokens that train, of all engines together.
        round_seconds: Mean time from one publication of weights to the next.
        idle_engines: Share of the engines' time without anything to sample, in [0, 1].
        idle_learner: Share of the time in which learners wait for groups, in [0, 1].
        staleness_mean: Versions that the oldest token of a group lies behind, on average.
        staleness_worst: The most.
        thrown_away: Share of the sampling that was for nothing, as groups became too old.
    """

    engines: int
    tensor_parallel: int
    ranks: int
    unused: int
    tokens_per_second: float
    round_seconds: float
    idle_engines: float
    idle_learner: float
    staleness_mean: float
    staleness_worst: int
    thrown_away: float


@dataclass(frozen=True, slots=True)
class Load:
    """What a round is for one split.

    Attributes:
        places: Groups that an engine samples at a time.
        durations: Seconds that groups take, drawn.
        tokens: Mean sampled tokens of a group, its step groups included.
        update_seconds: Of the learner, for the groups of a round.
    """

    places: int
    durations: tuple[float, ...]
    tokens: float
    update_seconds: float


def splits(recipe: Recipe, gpus: int, gpu: Gpu | None, shape: ModelShape | None) -> list[Recipe]:
    """The recipe with every split of so many GPUs that is valid and fits their memory.

    Args:
        recipe: ``engine.tensor_parallel``, ``learner.sequence_parallel`` and ``placement.mode`` are kept.
        gpus: How many there are; on a cluster without, processes.
        gpu: Of which kind; ``None`` asks for no memory.
        shape: Of the policy; ``None`` asks for no memory either.

    Raises:
        UserError: none does; says which side has no room.
    """
    found = []
    reasons = [f"{recipe.engine.tensor_parallel + recipe.learner.sequence_parallel} are needed at the least"]
    for engines, ranks in _counts(recipe, gpus):
        tree = recipe.model_dump(mode="json")
        tree["engine"]["actors"], tree["learner"]["ranks"] = engines, ranks
        if gpu is not None:
            tree["placement"]["gpu_memory_gib"] = gpu.memory_gib
        try:
            candidate = validate_recipe(tree, recipe.name)
        except RecipeError as error:
            reasons.append(str(error))
            continue
        if gpu is not None and shape is not None and (reason := _does_not_fit(shape, candidate, gpu)):
            reasons.append(reason)
            continue
        found.append(candidate)
    if not found:
        raise UserError(
            f"no split of {gpus} GPUs has room for {recipe.name}: {reasons[-1]}",
            "more GPUs, larger ones, or other settings of engine and learner; `thor config show` has their memory",
        )
    return found


def predictions(
    candidates: list[Recipe], gpus: int, rates: Rates, lengths: Lengths, shape: ModelShape | None
) -> list[Prediction]:
    """What each split comes to, the most tokens a second first; splits that are far behind are left out."""
    families = draw_families(candidates[0], lengths)
    loads = [load_of(candidate, rates, families, shape) for candidate in candidates]
    bounds = [_bound(candidate, load) for candidate, load in zip(candidates, loads, strict=True)]
    worth = WORTH_SIMULATING * max(bounds)
    found = [
        predict(candidate, gpus, load, rates)
        for candidate, load, bound in zip(candidates, loads, bounds, strict=True)
        if bound >= worth
    ]
    return sorted(found, key=lambda each: -each.tokens_per_second)


def draw_families(recipe: Recipe, lengths: Lengths, seed: int = 0) -> list[Family]:
    """Problems with their trajectories, the same for every split.

    Args:
        recipe: ``rl`` says how large groups are, and how many problems have a step group at the most.
        lengths: Of which each trajectory is drawn.
        seed: Of the draws.
    """
    rl, random = recipe.rl, Random(seed)
    share = min(rl.step_groups_per_round, rl.groups_per_round) / rl.groups_per_round if rl.step_level else 0.0
    families = []
    for _ in range(FAMILIES_DRAWN):
        episodes = [random.choice(lengths.episodes) for _ in range(rl.group_size)]
        stepped = random.random() < share
        families.append((episodes, [lengths.draw_step(random) for _ in range(rl.step_group_size if stepped else 0)]))
    return families


def load_of(recipe: Recipe, rates: Rates, families: list[Family], shape: ModelShape | None) -> Load:
    """What a round is: how many groups run at a time on an engine, how long they take, and how long the learner does."""
    rl, at_once = recipe.rl, recipe.engine.max_sequences
    tokens = sum(each.tokens for family in families for part in family for each in part) / len(families)
    longest = sum(max(each.tokens for each in part) for family in families for part in family if part) / len(families)
    if shape is not None and recipe.placement.gpu_memory_gib is not None:
        mean = sum(each.tokens for episodes, _ in families for each in episodes) / (len(families) * rl.group_size)
        at_once = min(at_once, int(engine_memory(shape, recipe).cache_tokens / mean))
    in_flight = (rl.stream.max_staleness + 1) * rl.groups_per_round
    places = max(1, min(at_once // rl.group_size, math.ceil(in_flight / recipe.engine.actors)))
    # A group keeps its place until its longest sequence has ended, so that fewer sequences run than could.
    step = rates.step_seconds(places * tokens / longest)

    def seconds(part: list[Trajectory]) -> float:
        return max(
            (t.tokens * step + (rates.tool_seconds if t.waited is None else t.waited) for t in part), default=0.0
        )

    return Load(
        places=places,
        durations=tuple(seconds(episodes) + seconds(steps) for episodes, steps in families),
        tokens=tokens,
        update_seconds=rl.groups_per_round * tokens * rates.learner_seconds / recipe.learner.ranks,
    )


def predict(recipe: Recipe, gpus: int, load: Load, rates: Rates, seed: int = 0) -> Prediction:
    """Simulates one split until it has found its pace, and then some rounds."""
    engines, groups, staleness = recipe.engine.actors, recipe.rl.groups_per_round, recipe.rl.stream.max_staleness
    shrunk = _shrinkage(groups, load.places)
    world = World(
        engines,
        load.places // shrunk,
        durations=load.durations,
        update_seconds=load.update_seconds,
        publish_seconds=rates.publish_seconds,
    )
    stream = TrajectoryStream(StreamConfig(groups // shrunk, staleness, updates=10**6), ProblemCursor(10_000, seed))
    simulation = Simulation(stream, world, seed)
    warm_up = WARM_UP + staleness
    outcome = simulation.run(until_version=warm_up)
    began, trained, busy, wasted = outcome.seconds, len(outcome.trained), outcome.busy_seconds, outcome.wasted_seconds
    outcome = simulation.run(until_version=warm_up + MEASURED)
    seconds, lags = outcome.seconds - began, outcome.staleness[trained:]
    busy, wasted = outcome.busy_seconds - busy, outcome.wasted_seconds - wasted
    learner = recipe.learner.ranks
    used = (
        max(engines, learner)
        if recipe.placement.mode == "colocated"
        else engines * recipe.engine.tensor_parallel + learner
    )
    return Prediction(
        engines=engines,
        tensor_parallel=recipe.engine.tensor_parallel,
        ranks=learner,
        unused=gpus - used,
        tokens_per_second=len(lags) * shrunk * load.tokens / seconds,
        round_seconds=seconds / MEASURED,
        idle_engines=max(0.0, 1 - busy / (seconds * engines * world.places)),
        idle_learner=max(0.0, 1 - MEASURED * (load.update_seconds + rates.publish_seconds) / seconds),
        staleness_mean=sum(lags) / len(lags),
        staleness_worst=max(lags),
        thrown_away=wasted / busy if busy else 0.0,
    )


def _counts(recipe: Recipe, gpus: int) -> Iterator[tuple[int, int]]:
    """Engines and ranks, as the recipe's placement allows them."""
    parallel, together = recipe.engine.tensor_parallel, recipe.learner.sequence_parallel
    if recipe.placement.mode == "colocated":
        if gpus % together == 0:
            yield gpus, gpus
        return
    for ranks in range(together, gpus - parallel + 1, together):
        yield (gpus - ranks) // parallel, ranks


def _does_not_fit(shape: ModelShape, recipe: Recipe, gpu: Gpu) -> str | None:
    engine, together = engine_memory(shape, recipe), recipe.placement.mode == "colocated"
    if engine.cache_tokens < recipe.policy.max_context:
        return f"an engine's cache would hold {max(0, engine.cache_tokens)} tokens of the {recipe.policy.max_context} needed"
    needed = shared_memory(shape, recipe).peak if together else learner_memory(shape, recipe).total
    if needed > gpu.memory_gib * GIBIBYTE:
        return f"with {recipe.learner.ranks} ranks each needs {needed / GIBIBYTE:.0f} GiB of {gpu.memory_gib:g}"
    return None


def _bound(recipe: Recipe, load: Load) -> float:
    """Tokens a second that the slower side of a split allows, if neither ever waited."""
    mean = sum(load.durations) / len(load.durations)
    sampling = mean / (recipe.engine.actors * load.places * load.tokens)
    learning = load.update_seconds / (recipe.rl.groups_per_round * load.tokens)
    synchronous = recipe.rl.stream.max_staleness == 0
    return 1 / (sampling + learning if synchronous else max(sampling, learning))


def _shrinkage(groups: int, places: int) -> int:
    """By how much rounds and engines can be made smaller alike, so that a round lasts as long and has groups enough."""
    wanted = max(1, groups // SIMULATED_GROUPS)
    return max(each for each in range(1, places + 1) if places % each == 0 and each <= wanted)
