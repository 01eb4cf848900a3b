"""Running a study: each seed is a few runs after one another, and seeds go side by side in processes of their own."""

import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from actors.codec import TokenizerCodec
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.progress import Progress
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog
from thor_ray.stages.pipeline import newest_model, plan_workers, run_cluster, run_stages, stages_left
from thor_ray.stages.plain_solutions import solutions_of, write_plain
from thor_ray.stages.plan import LEARNING, Plan, make_plan
from thor_ray.stages.workers import Workers
from thor_ray.study.design import StudyRun
from thor_ray.study.results import run_place

COMMAND = "study"
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """One seed of a study.

    Attributes:
        place: Directory of the study.
        seed: Which.
        recipes: Of each run, in the order in which they are run.
    """

    place: Path
    seed: int
    recipes: Mapping[StudyRun, Recipe]

    def path(self, run: str) -> Path:
        """Directory of a run."""
        return run_place(self.place, self.seed, run)

    def model(self, run: StudyRun) -> Path | None:
        """What a run begins with, if another run has to learn it first."""
        if run.begins_with is None:
            return None
        (stages,) = [one.stages for one in self.recipes if one.name == run.begins_with]
        learnt = [stage for stage in stages if stage in LEARNING]
        return self.path(run.begins_with) / "checkpoints" / learnt[-1]


def run_seed(seed: SeedPlan, progress: Progress) -> None:
    """Runs what is not finished of a seed; what is, is left as it is.

    All runs share a Ray cluster. A run that only judges what the one before it has learnt takes over its actors, whose start
    would take longer than what they then do; it gives the same figures with actors of its own.

    Raises:
        PreflightError: and its kin; a run cannot be started.
        WorkerError: a process of a run was lost; running the seed again goes on from there.
    """
    with ExitStack() as cluster, ExitStack() as holding:
        serving: Serving | None = None
        for run in seed.recipes:
            path, plan = seed.path(run.name), plan_of(seed, run)
            log = RunLog.resume(path, plan.recipe) if path.exists() else RunLog.create(path, plan.recipe, COMMAND)
            with log:
                log.keep_tokenizer(plan.model)
                if not stages_left(plan, log):
                    continue
                progress.say(f"seed {seed.seed}, {run.name}")
                if serving is None:
                    cluster.enter_context(run_cluster(plan, seed.path("actors.log"), progress))
                if serving is not None and serving.suits(plan, log):
                    workers = serving.workers
                else:
                    holding.close()
                    workers = holding.enter_context(plan_workers(plan, log))
                run_stages(plan, log, workers, progress)
                serving = Serving(workers, plan.recipe, newest_model(plan, log)[0])


@dataclass(frozen=True, slots=True)
class Serving:
    """Actors of a run that is over.

    Attributes:
        workers: They.
        recipe: Of that run.
        model: Directory of the weights that the engines serve.
    """

    workers: Workers
    recipe: Recipe
    model: Path

    def suits(self, plan: Plan, log: RunLog) -> bool:
        """Whether another run can have these actors: it judges the same weights, and differs in nothing that actors are started with."""
        learns = any(stage in LEARNING for stage in stages_left(plan, log))
        return not learns and plan.model == self.model and _started_with(plan.recipe) == _started_with(self.recipe)


def _started_with(recipe: Recipe) -> tuple[object, ...]:
    """What actors keep from their start to their end; weights and settings of sampling come later."""
    policy = recipe.policy.model_copy(update={"model": ""})
    return recipe.seed, policy, recipe.placement, recipe.sandbox, recipe.engine


def plan_of(seed: SeedPlan, run: StudyRun) -> Plan:
    """What a run does; the run that it begins with is finished."""
    recipe, model = seed.recipes[run], seed.model(run)
    if model is not None:
        policy = recipe.policy.model_copy(update={"model": str(model)})
        recipe = recipe.model_copy(update={"policy": policy})
    if run.solutions_of is not None:
        cold_start = recipe.cold_start.model_copy(update={"demonstrations": unrefined(seed, run.solutions_of)})
        recipe = recipe.model_copy(update={"cold_start": cold_start})
    return make_plan(recipe, run.stages)


def unrefined(seed: SeedPlan, name: str) -> Path:
    """The solutions behind the demonstrations of a finished run, as they were; written once."""
    path = seed.path(f"{name}-solutions.parquet")
    if not path.exists():
        (recipe,) = [recipe for run, recipe in seed.recipes.items() if run.name == name]
        plan = make_plan(recipe, (Stage.TIRGEN,))
        solutions = solutions_of(RunDirectory(seed.path(name)), plan.problems.train)
        codec = TokenizerCodec.from_directory(str(plan.model))
        write_plain(path, ((one.problem, one.text) for one in solutions), recipe, codec)
    return path


def run_side_by_side(commands: Mapping[int, Sequence[str]], logs: Path, side_by_side: int, console: Console) -> None:
    """Runs a command for each seed, a few at a time. A seed that fails leaves the others alone.

    Args:
        commands: Arguments of ``thor``, by seed.
        logs: Directory of what each of them prints.
        side_by_side: How many at a time.
        console: Where to say how far they are.

    Raises:
        UserError: some failed; names them and their logs.
    """
    waiting, failed = list(commands.items()), list[int]()
    running: dict[int, subprocess.Popen[bytes]] = {}
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as ending:
        # Whatever ends this process ends its children, who clean up after themselves.
        ending.callback(lambda: _end(running.values()))
        while waiting or running:
            while waiting and len(running) < side_by_side:
                seed, arguments = waiting.pop(0)
                with (logs / f"seed-{seed}.log").open("ab") as output:
                    command = [sys.executable, "-m", "thor_ray.cli", *arguments]
                    running[seed] = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
                console.print(f"seed {seed} starts; it prints to {logs / f'seed-{seed}.log'}", soft_wrap=True)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for seed, process in list(running.items()):
                if (code := process.poll()) is not None:
                    del running[seed]
                    console.print(f"seed {seed} {'is done' if code == 0 else f'ended with code {code}'}")
                    failed += [seed] if code else []
    if failed:
        files = ", ".join(str(logs / f"seed-{seed}.log") for seed in failed)
        raise UserError(f"{len(failed)} of {len(commands)} seeds failed: see {files}", "the same command goes on")


def _end(processes: "Collection[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
