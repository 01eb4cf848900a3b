"""A run as a list of stages: base, TIRGen, cold start, hierarchical RL, self-correcting evaluation, or some of them.

Each stage is finished or not. A run that is resumed goes on after the last finished one, from the model which that
left. A stage that learns goes on from the newest checkpoint of its learner; what else an unfinished stage had recorded
is superseded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    """Runs those stages of a plan that are not finished, in order.

    Args:
        plan: What the run consists of.
        log: A run that is new or resumed.
        progress: Where the stages show how far they are.
    """
    recipe, left = plan.recipe, [stage for stage in plan.stages if not log.finished(stage)]
    log.keep_tokenizer(plan.model)
    if left:
        learners = any(stage in LEARNING for stage in left)
        with RayCluster(cpus=recipe.engine.actors + recipe.learner.ranks, actor_log=log.logs / "actors.log") as cluster:
            if cluster.dashboard_url:
                progress.say(f"Ray dashboard: {cluster.dashboard_url}")
            attach_ray_metrics(log, recipe)
            model, version = latest_model(log) or (plan.model, 0)
            with (
                started_workers(recipe, model, learners=learners, version=version) as workers,
                fleet_watched(workers, log, learners=learners),
            ):
                note_isolation(workers, log, progress)
                Pipeline(recipe, plan.problems, workers, log, progress).run(left)


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
