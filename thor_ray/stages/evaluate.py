"""Evaluation: avg@k on problems that nothing was trained on, with or without self-correction (spec G.1, F.1).

``evaluate`` judges the weights that a training run holds at a moment, as one of its stages. ``stream_evaluation`` judges a
policy on any number of benchmarks, sample by sample, and can be stopped and gone on with at any one of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, Final

from actors.fleet import Call, Completed
from actors.generation import derive_seed
from actors.placement import RayCluster
from actors.sampler import RolloutSettings
from actors.scorers import Scored
from thor_ray.config import Recipe, RepairStrategy
from thor_ray.evaluation.estimators import pass_at_k
from thor_ray.evaluation.recording import EvaluationRecorder, group_of, recording, trajectory_of
from thor_ray.evaluation.samples import EvaluationSample, SampleKey, sample_of_trajectory, strategy_name
from thor_ray.evaluation.sources import family_of
from thor_ray.evaluation.store import FOLDER, EvaluationDirectory
from thor_ray.metrics import CORRECT, evaluation_statistics, is_judged
from thor_ray.problems import Problem
from thor_ray.progress import Progress
from thor_ray.records import Record, Stage
from thor_ray.runlog import RunLog
from thor_ray.segments import Decoder, discarded_texts, segment_texts
from thor_ray.stages.evaluation_plan import EvaluationPlan
from thor_ray.stages.fleet_watch import fleet_watched
from thor_ray.stages.ray_metrics import attach_ray_metrics
from thor_ray.stages.workers import Workers, note_isolation, started_workers
from thor_ray.trajectory import Group, GroupKind, Trajectory

PASS_SIZES: Final = (2, 4, 8, 16)
"""k of the pass@k that is recorded, beside pass@1."""


def evaluate(
    workers: Workers,
    problems: Sequence[Problem],
    recipe: Recipe,
    log: RunLog,
    stage: Stage,
    *,
    round_index: int = 0,
    on_group: Callable[[Group], None] | None = None,
) -> dict[str, Any]:
    """Samples ``evaluation.samples_per_problem`` trajectories per problem with the weights that the engines serve.

    Whether the policy corrects itself is the stage's matter (``Stage.corrects_itself``).

    Returns:
        The figures (``metrics.EvaluationStatistics``) as plain JSON values; they are recorded as well.

    Raises:
        ValueError: no trajectory could be judged.
    """
    groups = workers.fleet.episode_groups(
        problems,
        [f"{stage}/{round_index}/{index}" for index in range(len(problems))],
        on_group,
        group_size=recipe.evaluation.samples(),
        settings=RolloutSettings.for_evaluation(recipe, stage.corrects_itself),
        seed=derive_seed(recipe.seed, "evaluation"),
    )
    log.record_groups(groups, stage, round_index, gold_answers={problem.id: problem.answer for problem in problems})
    trajectories = [trajectory for group in groups for trajectory in group.trajectories]
    figures = evaluation_statistics(trajectories).to_json() | pass_at(trajectories)
    log.record_metrics(stage, round_index, figures)
    return figures


def pass_at(trajectories: Iterable[Trajectory]) -> dict[str, float]:
    """Chance that one of k samples is right, by ``pass_at/<k>``, for all of ``PASS_SIZES`` that every problem has samples for.

    Trajectories that we failed are left out.
    """
    judged = [trajectory for trajectory in trajectories if is_judged(trajectory)]
    samples = Counter(trajectory.problem_id for trajectory in judged)
    correct = Counter(trajectory.problem_id for trajectory in judged if trajectory.grade_status == CORRECT)
    return {
        f"pass_at/{k}": fmean(pass_at_k(count, correct[problem], k) for problem, count in samples.items())
        for k in PASS_SIZES
        if k <= min(samples.values(), default=0)
    }


def stream_evaluation(plan: EvaluationPlan, log: RunLog, progress: Progress) -> EvaluationDirectory:
    """Samples everything that has no row yet, each sample on whichever engine has room, and records it at once.

    What is sampled depends on plan and seed alone: not on the number of engines, on who is first, or on how often the
    evaluation was stopped.

    Args:
        plan: What is evaluated.
        log: A run that is new or resumed.
        progress: Where to show how far it is.

    Raises:
        UserError: the run was started about something else.
        WorkerError: an engine died or hangs; every finished sample stands.
    """
    directory = EvaluationDirectory(log.path / FOLDER)
    if directory.about_file.exists():
        directory.resume(plan.about(log.path))
    else:
        directory.create(plan.about(log.path))
    log.keep_tokenizer(plan.model)
    if log.finished(Stage.EVALUATE):
        return directory
    with recording(directory.samples_file, log) as recorder, log.stage(Stage.EVALUATE, recorder.files) as result:
        if (left := plan.size - len(recorder.done)) < plan.size:
            progress.say(f"{plan.size - left:,} of {plan.size:,} samples are done already")
        if left:
            engines = plan.recipe.engine.actors
            with (
                RayCluster(cpus=engines, actor_log=log.logs / "actors.log"),
                started_workers(plan.recipe, plan.model, learners=False) as workers,
                fleet_watched(workers, log, learners=False),
            ):
                attach_ray_metrics(log, plan.recipe)
                note_isolation(workers, log, progress)
                _sample_what_is_left(plan, workers, recorder, log, progress)
        result["samples"] = len(recorder.done)
    return directory


def sample_calls(plan: EvaluationPlan, done: set[SampleKey]) -> Iterator[Call]:
    """A call of ``RolloutActor.rollout_sample`` for each sample that is not done, its seed derived from its key."""
    settings = {strategy: _settings(plan.recipe, strategy) for strategy in plan.recipe.evaluation.strategies}
    for key, problem, one in plan.samples():
        if key not in done:
            arguments = {
                "problem": problem,
                "scorer": one.scorer(problem),
                "settings": settings[key.strategy],
                "seed": sample_seed(plan.recipe.seed, key),
                "trajectory_id": trajectory_of(key),
            }
            yield Call(key, "rollout_sample", arguments)


def sample_seed(seed: int, key: SampleKey) -> int:
    """The seed of one sample, from the recipe's and its key."""
    return derive_seed(seed, "sample", key.benchmark, strategy_name(key.strategy), key.problem_id, key.sample_index)


def row_of(completed: Completed, attempt: int) -> EvaluationSample:
    """The row of a finished sample."""
    key: SampleKey = completed.call.key
    problem: Problem = completed.call.arguments["problem"]
    scored: Scored = completed.result
    row = sample_of_trajectory(scored.trajectory, key.benchmark, key.sample_index, problem.answer or None, key.strategy)
    assert row.timing is not None, "trajectories know their seconds"
    return replace(
        row,
        attempt=attempt,
        subject=problem.subject or family_of(problem),
        level=problem.level,
        grade_reason="" if scored.grade is None else scored.grade.reason,
        grade_path="" if scored.grade is None else scored.grade.path,
        timing=replace(row.timing, started_at=completed.started_at, ended_at=completed.ended_at),
    )


def record_of(completed: Completed, number: int, decode: Decoder) -> Record:
    """The trajectory of a finished sample, with its text.

    Args:
        completed: What an actor made.
        number: Of the file that it will stand in.
        decode: The policy's tokenizer.
    """
    trajectory = completed.result.trajectory
    return Record(
        trajectory=trajectory,
        group_uid=group_of(completed.call.key),
        group_kind=GroupKind.EPISODE,
        group_dropped=None,
        stage=Stage.EVALUATE,
        round=number,
        texts=segment_texts(trajectory, decode),
        discarded_texts=discarded_texts(trajectory, decode),
        gold_answer=completed.call.arguments["problem"].answer or None,
    )


def _sample_what_is_left(
    plan: EvaluationPlan, workers: Workers, recorder: EvaluationRecorder, log: RunLog, progress: Progress
) -> None:
    done, correct = 0, 0
    calls = sample_calls(plan, set(recorder.done))
    with progress.stage("evaluation", plan.size - len(recorder.done)) as bar:
        for completed in workers.fleet.stream(calls):
            row = row_of(completed, recorder.attempt)
            recorder.record(row, record_of(completed, recorder.files, workers.codec.decode))
            done, correct = done + 1, correct + row.correct
            bar.advance({"correct": correct / done, "samples/s": done / bar.seconds})
    log.record_metrics(Stage.EVALUATE, None, {"samples": done, "correct": correct / done, "seconds": bar.seconds})


def _settings(recipe: Recipe, strategy: RepairStrategy | None) -> RolloutSettings:
    plain = RolloutSettings.for_evaluation(recipe)
    if strategy is None:
        return plain
    return replace(plain, correction=recipe.evaluation.correction.model_copy(update={"strategy": strategy}))
