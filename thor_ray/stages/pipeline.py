"""A run as a list of stages: base, TIRGen, cold start, hierarchical RL, self-correcting evaluation, or some of them.

Each stage is finished or not. A run that is resumed goes on after the last finished one, from the model which that
left. A stage that learns goes on from the newest checkpoint of its learner; what else an unfinished stage had recorded
is superseded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.placement import RayCluster
from thor_ray.config import Recipe
from thor_ray.progress import Progress
from thor_ray.prompt_record import record_prompt
from thor_ray.records import Stage, read_trajectories
from thor_ray.runlog import RunLog
from thor_ray.stages.coldstart import cold_start
from thor_ray.stages.evaluate import evaluate
from thor_ray.stages.fleet_watch import fleet_watched
from thor_ray.stages.hierarchical_rl import hierarchical_rl
from thor_ray.stages.plan import LEARNING, Plan
from thor_ray.stages.problem_sets import ProblemSets
from thor_ray.stages.ray_metrics import attach_ray_metrics
from thor_ray.stages.resumption import StageCheckpoints, latest_model
from thor_ray.stages.tirgen import tirgen
from thor_ray.stages.workers import Workers, note_isolation, started_workers


def run_plan(plan: Plan, log: RunLog, progress: Progress) -> None:
    """Runs those stages of a plan that are not finished, in order, with actors of its own.

    Args:
        plan: What the run consists of.
        log: A run that is new or resumed.
        progress: Where the stages show how far they are.
    """
    log.keep_tokenizer(plan.model)
    if stages_left(plan, log):
        with run_cluster(plan, log.logs / "actors.log", progress), plan_workers(plan, log) as workers:
            run_stages(plan, log, workers, progress)


def stages_left(plan: Plan, log: RunLog) -> tuple[Stage, ...]:
    """What is not finished of a plan."""
    return tuple(stage for stage in plan.stages if not log.finished(stage))


def newest_model(plan: Plan, log: RunLog) -> tuple[Path, int]:
    """What the run has learnt last, or begins with, and the version of its weights."""
    return latest_model(log) or (plan.model, 0)


@contextmanager
def run_cluster(plan: Plan, actor_log: Path, progress: Progress) -> Iterator[None]:
    """The Ray cluster that a plan is run in; see `RayCluster`."""
    cpus = plan.recipe.engine.actors + plan.recipe.learner.ranks
    with RayCluster(cpus=cpus, actor_log=actor_log) as cluster:
        if cluster.dashboard_url:
            progress.say(f"Ray dashboard: {cluster.dashboard_url}")
        yield


@contextmanager
def plan_workers(plan: Plan, log: RunLog) -> Iterator[Workers]:
    """The actors that what is left of a plan needs, on the newest weights that the run has; this process is in a cluster."""
    model, version = newest_model(plan, log)
    learners = any(stage in LEARNING for stage in stages_left(plan, log))
    with started_workers(plan.recipe, model, learners=learners, version=version) as workers:
        yield workers


def run_stages(plan: Plan, log: RunLog, workers: Workers, progress: Progress) -> None:
    """Runs what is left of a plan on actors that are there."""
    left = stages_left(plan, log)
    attach_ray_metrics(log, plan.recipe)
    with fleet_watched(workers, log, learners=any(stage in LEARNING for stage in left)):
        note_isolation(workers, log, progress)
        Pipeline(plan.recipe, plan.problems, workers, log, progress).run(left)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages and what they share."""

    recipe: Recipe
    problems: ProblemSets
    workers: Workers
    log: RunLog
    progress: Progress

    def run(self, stages: Sequence[Stage]) -> None:
        """Runs stages in order, each recorded as finished before the next begins."""
        learning: dict[Stage, Callable[[], Mapping[str, Any]]] = {
            Stage.TIRGEN: self._tirgen,
            Stage.COLD_START: self._cold_start,
            Stage.RL: self._hierarchical_rl,
        }
        for stage in stages:
            checkpoints = StageCheckpoints(self.log, stage, self.recipe.learner)
            with self.log.stage(stage, checkpoints.done(self.progress)) as result:
                result.update(learning[stage]() if stage in learning else self._evaluate(stage))
            checkpoints.clear()

    def _tirgen(self) -> Mapping[str, Any]:
        problems = self.problems.train[: self.recipe.tirgen.problems]
        with self.progress.stage("TIRGen") as bar:
            return tirgen(self.workers, problems, self.recipe, self.log, bar.reach)

    def _cold_start(self) -> Mapping[str, Any]:
        given = self.recipe.cold_start.demonstrations
        demonstrations = read_trajectories([given] if given else self.log.record_files(Stage.TIRGEN))
        with self.progress.stage("cold start", shown=("loss", "tokens_per_second")) as bar:
            cold_start(self.workers, demonstrations, self.recipe, self.log, bar.reach, self.problems.heldout)
        return self._export(Stage.COLD_START)

    def _hierarchical_rl(self) -> Mapping[str, Any]:
        shown = ("reward", "failing_share", "step_reward", "tokens_per_second")
        with self.progress.stage("hierarchical RL", self.recipe.rl.rounds, shown) as bar:
            hierarchical_rl(self.workers, self.problems, self.recipe, self.log, bar.reach)
        return self._export(Stage.RL)

    def _evaluate(self, stage: Stage) -> Mapping[str, Any]:
        problems = self.problems.heldout
        with self.progress.stage(stage.replace("_", " "), len(problems)) as bar:
            figures = evaluate(self.workers, problems, self.recipe, self.log, stage, on_group=lambda _: bar.advance())
            bar.reach(len(problems), {name: figures[name] for name in ("pass_at_1", "code_ratio", "code_pass_rate")})
        return figures

    def _export(self, stage: Stage) -> Mapping[str, Any]:
        path = self.log.checkpoints / stage
        self.workers.learners.export(path)
        template = self.recipe.policy.template
        record_prompt(path, template, self.workers.codec.prompt_frame(template))
        return {"model": str(path.relative_to(self.log.path)), "weight_version": self.workers.learners.version}
