"""The loop itself on real engines, sandboxes and learners: cold start, RL rounds, a failure and its resumption.

One pair of engine and learner serves most tests. It starts from the shipped base, and a short cold start on one family
of problems teaches it to write programs, of which enough fail. Tests say nothing about where the weights stand when
they begin, so that their order does not matter.
"""

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import ray
from rich.console import Console
from safetensors.numpy import load_file

from thor_ray.config import Recipe, validate_recipe
from thor_ray.dialogue import render_observation
from thor_ray.metrics_registry import unregistered
from thor_ray.progress import Progress
from thor_ray.records import Record, Stage, read_groups, read_records
from thor_ray.run_directory import WEIGHTS_GAP, WEIGHTS_VERIFIED, WEIGHTS_VERSION, RunDirectory
from thor_ray.run_state import RunStatus
from thor_ray.runlog import RunLog
from thor_ray.segments import segment_texts
from thor_ray.stages import pipeline
from thor_ray.stages.hierarchical_rl import hierarchical_rl
from thor_ray.stages.pipeline import Pipeline, run_plan
from thor_ray.stages.plan import Plan, make_plan
from thor_ray.stages.workers import Workers, started_workers
from thor_ray.trajectory import FinishReason, GroupKind, SpanKind, Trajectory

pytestmark = pytest.mark.slow

GCD = {"families": ["gcd"], "levels": [1]}
SAMPLING = {"max_rounds": 2, "max_new_tokens": 128}
DEMONSTRATIONS = 128
STAGES = (Stage.TIRGEN, Stage.COLD_START, Stage.RL, Stage.EVALUATE_RL_SELF_CORRECTION)

MISMATCH = 1e-4
"""Most that engine and learner may differ in the log-prob of a sampled token, in nats: both compute in float32."""

PUBLISHED_GAP = 1e-3


def loop_recipe(**rl: Any) -> Recipe:
    """A small recipe; keyword arguments change section ``rl``."""
    return validate_recipe(
        {
            "name": "loop",
            "policy": {"max_context": 256},
            "problems": {"train": {**GCD, "count": DEMONSTRATIONS}, "heldout": {**GCD, "count": 4}},
            # Only a program that hangs may meet its limit, however busy the machine is.
            "sandbox": {"timeout_seconds": 60, "preload": ["sympy"]},
            "engine": {"max_sequences": 64, "kv_cache_mib": 64},
            "learner": {"micro_batch_tokens": 2048},
            "tirgen": {"problems": DEMONSTRATIONS, "attempts": 0, "flawed_first": 0.5, "flawed_again": 0.3},
            # Long enough for well-formed programs, so that some are right and rewards differ.
            "cold_start": {
                "epochs": 10,
                "batch_size": 8,
                "evaluate_every": 100,
                "checkpoint_every": 90,
                "optimizer": {"learning_rate": 4e-3, "warmup_updates": 4, "betas": [0.9, 0.95]},
            },
            "rl": {
                "rounds": 1,
                "groups_per_round": 8,
                "group_size": 4,
                "updates_per_round": 2,
                "sampling": SAMPLING,
                "step_groups_per_round": 3,
                "step_group_size": 4,
                "suffix_tokens": 8,
                "filters": {"failed_code": False, "min_survivors": 0.0},
                "optimizer": {"learning_rate": 5e-4},
                **rl,
            },
            "evaluation": {"samples_per_problem": 2, "sampling": SAMPLING},
        },
        "test",
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(loop_recipe(), STAGES)


@pytest.fixture(scope="module")
def workers(ray_cluster: Any, plan: Plan) -> Iterator[Workers]:
    """An engine and a learner, first on the shipped base, then on whatever the tests taught them."""
    with started_workers(plan.recipe, plan.model) as started:
        yield started


def quiet() -> Progress:
    return Progress(Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def failed_run(workers: Workers, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run whose RL stage fails after its first round; afterwards the workers hold the cold-started policy."""

    def failing(_workers: Workers, _problems: Any, _recipe: Recipe, log: RunLog, _on_round: Any) -> None:
        log.record_metrics(Stage.RL, 0, {"reward": -99.0})
        raise RuntimeError("the lights went out")

    path = tmp_path_factory.mktemp("runs") / "loop"

    def run() -> None:
        with RunLog.create(path, plan.recipe, "smoke") as log, quiet() as progress:
            log.keep_tokenizer(plan.model)
            Pipeline(plan.recipe, plan.problems, workers, log, progress).run(plan.stages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "hierarchical_rl", failing)
        with pytest.raises(RuntimeError, match="the lights went out"):
            run()
    return RunDirectory(path)


@pytest.fixture
def cold_started(workers: Workers, failed_run: RunDirectory) -> Workers:
    """Workers whose policy writes programs."""
    assert failed_run.state().finished_stages
    return workers


def weights(workers: Workers, place: Path) -> dict[str, npt.NDArray[Any]]:
    workers.learners.export(place)
    tensors: dict[str, npt.NDArray[Any]] = load_file(place / "model.safetensors")
    return tensors


def same_bits(left: Mapping[str, npt.NDArray[Any]], right: Mapping[str, npt.NDArray[Any]]) -> bool:
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def train(workers: Workers, plan: Plan, recipe: Recipe, path: Path) -> RunDirectory:
    """Runs the RL stage of a recipe in a run of its own."""
    with RunLog.create(path, recipe, "train") as log:
        log.keep_tokenizer(plan.model)
        with log.stage(Stage.RL):
            hierarchical_rl(workers, plan.problems, recipe, log, lambda done, metrics: None)
    assert strange_figures(log) == []
    return RunDirectory(path)


def strange_figures(run: RunDirectory) -> list[str]:
    """Figures that were recorded and mean nothing to the registry."""
    return [name for line in run.metrics() for name in unregistered(line.stage, line.metrics)]


def rounds_of(run: RunDirectory) -> list[Mapping[str, Any]]:
    """The metrics of each RL round."""
    return [line.metrics for line in run.metrics(Stage.RL) if "reward" in line.metrics]


def publications_of(run: RunDirectory, stage: Stage = Stage.RL) -> list[Mapping[str, Any]]:
    return [line.metrics for line in run.metrics(stage) if WEIGHTS_VERSION in line.metrics]


def rows_of(run: RunDirectory, stage: Stage = Stage.RL) -> list[Record]:
    return list(read_records(run.record_files(stage)))


def test_a_short_cold_start_lowers_the_loss_and_reaches_the_engine(failed_run):
    lines = failed_run.metrics(Stage.COLD_START)
    losses = [line.metrics["loss"] for line in lines if "loss" in line.metrics]
    assert len(losses) == 160
    assert np.mean(losses[-8:]) < 0.2 * np.mean(losses[:2])
    published = publications_of(failed_run, Stage.COLD_START)
    assert [(each[WEIGHTS_VERSION], each[WEIGHTS_VERIFIED]) for each in published] == [(1, 1), (2, 1)]
    assert all(each[WEIGHTS_GAP] < PUBLISHED_GAP for each in published)


def test_a_cold_start_is_evaluated_on_its_way(failed_run):
    (evaluation,) = failed_run.metrics(Stage.EVALUATE_DURING_COLD_START)
    assert evaluation.round == 99
    assert evaluation.metrics["code_ratio"] > 0, "the engine serves weights from before the cold start"
    assert evaluation.metrics["pass_at/2"] >= evaluation.metrics["pass_at_1"]
    (versions,) = {
        frozenset(version for version in row.trajectory.versions.tolist() if version >= 0)
        for row in rows_of(failed_run, Stage.EVALUATE_DURING_COLD_START)
    }
    assert versions == {1}


def test_a_run_that_fails_keeps_what_it_had_finished(failed_run):
    state = failed_run.state()
    assert strange_figures(failed_run) == []
    assert state.status is RunStatus.FAILED
    assert state.error == "RuntimeError: the lights went out"
    assert state.finished_stages == [Stage.TIRGEN, Stage.COLD_START]
    assert state.stages[Stage.COLD_START].result == {"model": "checkpoints/cold_start", "weight_version": 2}
    assert len(rows_of(failed_run, Stage.TIRGEN)) == DEMONSTRATIONS


def test_without_a_learning_rate_nothing_moves(cold_started, plan, tmp_path):
    """Invariant 10: gradients flow, the optimizer steps, weights are published, and still nothing has changed."""
    before = weights(cold_started, tmp_path / "before")
    recipe = loop_recipe(rounds=2, optimizer={"learning_rate": 0.0})
    run = train(cold_started, plan, recipe, tmp_path / "run")
    assert same_bits(before, weights(cold_started, tmp_path / "after"))
    rounds, publications = rounds_of(run), publications_of(run)
    assert len(rounds) == len(publications) == 2
    for metrics in rounds:
        assert metrics["learner/grad_norm"] > 1e-3
        assert metrics["learner/mismatch_max_abs"] < MISMATCH
        assert abs(metrics["learner/mismatch_kl"]) < MISMATCH
        assert metrics["learner/ratio_min"] == pytest.approx(1, abs=MISMATCH)
        assert metrics["learner/ratio_max"] == pytest.approx(1, abs=MISMATCH)
    for published in publications:
        assert published[WEIGHTS_GAP] < PUBLISHED_GAP


def test_canary_without_a_learning_rate_the_mismatch_stays_flat_for_twenty_rounds(cold_started, plan, tmp_path):
    """Engines run ahead, and weights are published and loaded again and again. As they are always the same, tokens of
    old weights differ by arithmetic alone, just as new ones do: what grows here is a fault of publishing."""
    rounds = 20
    recipe = loop_recipe(
        rounds=rounds,
        groups_per_round=2,
        group_size=2,
        updates_per_round=1,
        step_level=False,
        sampling={"max_rounds": 1, "max_new_tokens": 48},
        filters={"failed_code": False, "min_survivors": 0.0, "zero_variance": False},
        optimizer={"learning_rate": 0.0},
        stream={"max_staleness": 2},
    )
    run = train(cold_started, plan, recipe, tmp_path / "run")
    found = [{name: value for name, value in each.items() if "mismatch" in name} for each in rounds_of(run)]
    assert len(found) == len(publications_of(run)) == rounds
    for figures in found:
        lags = {name.partition("/")[2] for name in figures if name.startswith("mismatch_abs/")}
        assert lags, "a round without a figure"
        for lag in lags:
            assert figures[f"mismatch_abs/{lag}"] <= figures[f"mismatch_p99/{lag}"] < MISMATCH
            assert abs(figures[f"mismatch_k3/{lag}"]) < MISMATCH
            assert figures[f"mismatch_limited/{lag}"] == 0
    assert any("mismatch_abs/lag_1" in figures for figures in found), "nothing was sampled ahead"


def test_the_tail_of_a_round_is_cut_and_learnt_from_later(cold_started, plan, tmp_path):
    """On a real engine: what was suspended goes on with its tokens, each of which names the weights that sampled it."""
    before = cold_started.learners.version
    recipe = loop_recipe(
        rounds=3,
        groups_per_round=2,
        filters={"failed_code": False, "min_survivors": 0.0, "zero_variance": False},
        stream={"max_staleness": 2, "over_sample": 3.0},
    )
    run = train(cold_started, plan, recipe, tmp_path / "run")
    rows = rows_of(run)
    assert len({row.trajectory.id for row in rows}) == len(rows), "a group was handed out twice"
    episodes = [row for row in rows if row.group_kind is GroupKind.EPISODE]
    assert Counter(row.round for row in episodes) == dict.fromkeys(range(3), 2 * 4)
    known = {row.trajectory.id: row.trajectory for row in rows}
    for row in rows:
        assert row.trajectory.finish is not FinishReason.SUSPENDED
        lags = before + row.round - sampled_versions(row.trajectory)
        assert ((lags >= 0) & (lags <= 2)).all()
        if row.group_kind is GroupKind.STEP:
            assert_is_continuation(row.trajectory, known)
    assert max(metrics["staleness_worst"] for metrics in rounds_of(run)) > 0, "nothing was suspended"


def test_a_round_samples_both_levels_learns_from_them_and_publishes(cold_started, plan, tmp_path):
    learners, before = cold_started.learners, cold_started.learners.version
    old = weights(cold_started, tmp_path / "before")
    run = train(cold_started, plan, loop_recipe(evaluate_every=1), tmp_path / "run")
    assert learners.version == before + 1
    assert ray.get([actor.version.remote() for actor in cold_started.fleet.actors]) == [before + 1]
    assert not same_bits(old, weights(cold_started, tmp_path / "after"))

    groups, rows = read_groups(run.record_files(Stage.RL)), rows_of(run)
    kinds = Counter(group.kind for group in groups)
    assert kinds[GroupKind.EPISODE] == 8
    assert kinds[GroupKind.STEP] > 0
    (metrics,) = rounds_of(run)
    assert metrics["failing_share"] > 0
    assert metrics["learner/step_tokens"] > 0 or all(g.dropped for g in groups if g.kind is GroupKind.STEP)
    # Each row either trained exactly once or says why it did not (invariant 6).
    trained = [row for row in rows if row.learned.advantage is not None]
    assert len(trained) == learners.updates * metrics["learner/sequences"]
    assert all((row.learned.advantage is None) == bool(row.group_dropped or row.learned.excluded) for row in rows)
    assert {group.dropped for group in groups} <= {None, "zero_variance", "too_few_survivors"}

    evaluated = rows_of(run, Stage.EVALUATE_DURING_RL)
    assert len(evaluated) == 8
    assert {int(version) for row in evaluated for version in sampled_versions(row.trajectory)} == {before + 1}


def sampled_versions(trajectory: Trajectory) -> npt.NDArray[np.int32]:
    return trajectory.versions[trajectory.loss_mask()]


def test_what_is_recorded_is_what_was_sampled(cold_started, plan, tmp_path):
    """Invariants 1 to 4 on what a real engine sampled, a real sandbox ran, and the disk gave back."""
    version = cold_started.learners.version
    run = train(cold_started, plan, loop_recipe(), tmp_path / "run")
    rows, decode, readable = rows_of(run), cold_started.codec.decode, run.decoder()
    assert readable is not None
    trajectories = {row.trajectory.id: row.trajectory for row in rows}
    for row in rows:
        trajectory = row.trajectory
        mask = trajectory.loss_mask()
        assert mask.sum() == trajectory.cost.kept_tokens == trajectory.cost.generated_tokens
        assert ((trajectory.versions >= 0) == mask).all()
        assert (trajectory.log_probs[~mask] == 0).all()
        assert set(sampled_versions(trajectory).tolist()) == {version}
        seen = [decode(trajectory.ids[s.start : s.end]) for s in trajectory.spans if s.kind is SpanKind.OBSERVATION]
        assert seen == [render_observation(step.result.text) for step in trajectory.steps if step.observation]
        assert row.texts == segment_texts(trajectory, readable)
        if row.group_kind is GroupKind.STEP:
            assert_is_continuation(trajectory, trajectories)
        else:
            assert trajectory.reward == float(trajectory.grade_status == "correct")
    assert any(row.group_kind is GroupKind.STEP for row in rows)


def assert_is_continuation(branch: Trajectory, known: Mapping[str, Trajectory]) -> None:
    """The prefix of a failed step of its parent, cut inside that step's thought, and one step rewarded by running."""
    assert branch.parent is not None
    parent = known[branch.parent.trajectory_id]
    step, cut = parent.steps[branch.parent.step_index], branch.parent.cut
    assert step.result.status.failed
    assert cut == max(step.thought.start, step.thought.end - 8)
    assert branch.ids[:cut] == parent.ids[:cut]
    assert branch.first_sampled == cut
    results = [own.result.status for own in branch.own_steps]
    assert len(results) <= 1
    assert branch.reward == (None if not results else float(not results[0].failed))


def test_the_same_weights_and_seed_give_the_same_round(cold_started, plan, tmp_path):
    """Invariant 11, to the last bit: trajectories, losses, and the weights that come of them.

    Whether engine and learner always have their GPUs or take turns on them makes no difference.
    """
    learners, recipe = cold_started.learners, loop_recipe()
    learners.begin_rl(recipe.rl.objective, recipe.rl.optimizer, 2)
    learners.save(tmp_path / "checkpoint")
    runs, results = [], []
    for attempt, share_gpus in (("first", False), ("second", False), ("in-turns", True)):
        learners.begin_rl(recipe.rl.objective, recipe.rl.optimizer, 2)
        learners.load(tmp_path / "checkpoint")
        learners.publish(cold_started.fleet.actors)
        runs.append(train(replace(cold_started, share_gpus=share_gpus), plan, recipe, tmp_path / attempt))
        results.append(weights(cold_started, tmp_path / f"{attempt}-weights"))
    first, *others = ([fingerprint(row) for row in rows_of(run)] for run in runs)
    (figures,), *figures_of_others = (rounds_of(run) for run in runs)
    assert figures["learner/sequences"] > 0, "nothing was learnt that could differ"
    for rows, (other,) in zip(others, figures_of_others, strict=True):
        assert rows == first
        assert {name: value for name, value in other.items() if not_of_time(name)} == {
            name: value for name, value in figures.items() if not_of_time(name)
        }
    assert all(same_bits(results[0], result) for result in results[1:])


def fingerprint(row: Record) -> tuple[Any, ...]:
    trajectory = row.trajectory
    return (
        *(row.group_uid, trajectory.id, trajectory.ids, trajectory.spans, trajectory.reward, trajectory.finish),
        *([step.result.text for step in trajectory.steps], trajectory.log_probs.tobytes()),
        *(trajectory.versions.tobytes(), row.learned.advantage, row.learned.excluded, row.group_dropped),
    )


def not_of_time(name: str) -> bool:
    """What a request finds in the engine's cache also depends on when it comes."""
    return "second" not in name and "cached" not in name and not name.startswith("idle/")


def test_rollouts_run_ahead_of_the_learner_and_none_is_lost_or_too_old(cold_started, plan, tmp_path):
    """Asynchronous rounds on a real engine, whose weights are replaced while it samples (invariants 6 to 8)."""
    before = cold_started.learners.version
    run = train(cold_started, plan, loop_recipe(rounds=4, stream={"max_staleness": 2}), tmp_path / "run")
    rounds, rows = rounds_of(run), rows_of(run)
    # A round whose groups all had rewards without variance teaches nothing and publishes nothing; which ones come is luck.
    lines = [line for line in run.metrics(Stage.RL) if WEIGHTS_VERSION in line.metrics]
    assert [line.metrics[WEIGHTS_VERSION] for line in lines] == list(range(before + 1, before + 1 + len(lines)))
    taught = [line.round for line in lines if line.round is not None]
    assert len(taught) >= 2
    assert not [name for metrics in rounds for name in unregistered(Stage.RL, metrics)]
    assert all(metrics["staleness_worst"] <= 2 for metrics in rounds)
    assert max(metrics["staleness_worst"] for metrics in rounds) > 0, "nothing was sampled ahead"
    episodes = [row for row in rows if row.group_kind is GroupKind.EPISODE]
    assert Counter(row.round for row in episodes) == dict.fromkeys(range(4), 8 * 4)
    assert len({row.trajectory.id for row in rows}) == len(rows), "a group was handed out twice"
    known = {row.trajectory.id: row.trajectory for row in rows}
    for row in rows:
        lags = before + sum(number < row.round for number in taught) - sampled_versions(row.trajectory)
        assert ((lags >= 0) & (lags <= 2)).all()
        assert (row.learned.advantage is None) == bool(row.group_dropped or row.learned.excluded)
        if row.group_kind is GroupKind.STEP:
            assert_is_continuation(row.trajectory, known)
    assert any(row.group_kind is GroupKind.STEP for row in rows)
    for metrics in rounds:
        assert metrics.get("mismatch_abs/lag_0", 0) < MISMATCH


def test_a_failed_run_is_resumed_after_its_last_finished_stage(ray_cluster, failed_run, plan, monkeypatch):
    """Nothing is done twice, and the new actors hold the policy that the cold start had left."""
    before = failed_run.state()
    demonstrations = {path: path.stat().st_mtime_ns for path in failed_run.record_files(Stage.TIRGEN)}
    learnt = failed_run.metrics(Stage.COLD_START)
    begun_with: list[tuple[Path, int]] = []

    def watched(recipe: Recipe, model: Path, *, learners: bool = True, version: int = 0) -> Any:
        begun_with.append((model, version))
        return started_workers(recipe, model, learners=learners, version=version)

    monkeypatch.setattr(pipeline, "started_workers", watched)
    with RunLog.resume(failed_run.path, plan.recipe) as log, quiet() as progress:
        run_plan(plan, log, progress)
    version = before.stages[Stage.COLD_START].result["weight_version"]
    assert version > 0
    assert begun_with == [(failed_run.checkpoints / "cold_start", version)]
    state = failed_run.state()
    assert (state.status, state.attempt, state.error) == (RunStatus.FINISHED, 2, "")
    assert state.finished_stages == list(STAGES)
    for stage in (Stage.TIRGEN, Stage.COLD_START):
        assert state.stages[stage] == before.stages[stage]
    assert {path: path.stat().st_mtime_ns for path in failed_run.record_files(Stage.TIRGEN)} == demonstrations
    assert failed_run.metrics(Stage.COLD_START) == learnt
    (metrics,) = rounds_of(failed_run)
    assert metrics["reward"] >= 0, "the failed attempt's figures are still there"
    # The base policy has never seen a program; the cold-started one writes little else.
    assert metrics["code_ratio"] > 0.5
    assert state.stages[Stage.RL].result["model"] == "checkpoints/rl"
    assert len(rows_of(failed_run, Stage.EVALUATE_RL_SELF_CORRECTION)) == 8

    with RunLog.resume(failed_run.path, plan.recipe) as log, quiet() as progress:
        run_plan(plan, log, progress)
    assert len(begun_with) == 1, "nothing was left to do, and still actors were started"
