"""An evaluation is found by run, stage, strategy, directory or file; ambiguity is refused with the names to choose from."""

import dataclasses
from pathlib import Path

import pytest

from tests.support.evaluations import ABOUT, full_samples
from tests.support.runs import write_run
from thor_ray.config import RepairStrategy, load_recipe
from thor_ray.errors import RunNotFoundError, UserError
from thor_ray.evaluation.sources import HELD_OUT, find_evaluation, run_settings, stage_evaluation
from thor_ray.evaluation.store import EvaluationDirectory, write_samples
from thor_ray.records import Stage
from thor_ray.report import evaluation_figures
from thor_ray.run_directory import RunDirectory


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("work")
    (place / "runs").mkdir()
    write_run(place / "runs" / "smoke")
    return place


@pytest.fixture
def here(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(work)
    return work


def test_stages_of_a_run_are_evaluations(here):
    found = find_evaluation("smoke:evaluate_cold_start")
    assert found.about.name == "smoke:evaluate_cold_start"
    assert {row.benchmark for row in found.samples} == {HELD_OUT}
    figures = evaluation_figures(RunDirectory(here / "runs/smoke").record_files(Stage.EVALUATE_COLD_START))
    assert sum(row.correct for row in found.samples) / len(found.samples) == figures["pass_at_1"]
    assert sum(row.code.failed for row in found.samples if row.code) == figures["failed_calls"]


def test_a_stage_that_corrects_itself_has_its_strategy(here):
    rows = find_evaluation(f"{here}/runs/smoke:evaluate_rl_self_correction").samples
    assert {row.strategy for row in rows} == {RepairStrategy.STEP_SUFFIX}
    assert sum(row.code.discarded for row in rows if row.code) == 24


def test_several_evaluations_must_be_told_apart(here):
    with pytest.raises(
        UserError, match="smoke holds several evaluations: evaluate_base, evaluate_cold_start"
    ) as caught:
        find_evaluation("smoke")
    assert "smoke:evaluate_base" in caught.value.remedy
    with pytest.raises(UserError, match="smoke holds no evaluation 'nope'"):
        find_evaluation("smoke:nope")
    with pytest.raises(RunNotFoundError, match="no evaluation 'absent:x'"):
        find_evaluation("absent:x")


def test_rows_are_found_as_file_directory_or_run(here):
    directory = EvaluationDirectory(here / "runs" / "mine" / "evaluation")
    directory.create(ABOUT, overwrite=True)
    write_samples(directory.samples_file, full_samples(3))
    for name in ("mine", "runs/mine", "runs/mine/evaluation"):
        found = find_evaluation(name)
        assert (len(found.samples), found.about) == (12, ABOUT)
    assert find_evaluation("runs/mine/evaluation/samples.jsonl").about.name == "samples"


def test_strategies_in_one_file_are_told_apart(here):
    directory = EvaluationDirectory(here / "runs" / "both" / "evaluation")
    directory.create(ABOUT, overwrite=True)
    corrected = [dataclasses.replace(row, strategy=RepairStrategy.FULL_REPLAN) for row in full_samples(2)]
    write_samples(directory.samples_file, full_samples(3) + corrected)
    with pytest.raises(UserError, match="several evaluations: none, full_replan"):
        find_evaluation("both")
    assert len(find_evaluation("both:none").samples) == 12
    assert len(find_evaluation("both:full_replan").samples) == 8
    assert find_evaluation("both:full_replan").about.name == "ours:full_replan"


def test_a_stage_without_records_is_named(here):
    with pytest.raises(UserError, match="has recorded no evaluate_during"):
        stage_evaluation(RunDirectory(here / "runs/none"), Stage.EVALUATE_DURING_RL)


def test_settings_say_what_decides_the_figures():
    recipe = load_recipe("smoke", ["evaluation.correction.strategy=action_only", "seed=5"])
    settings = run_settings(recipe, Stage.EVALUATE_RL_SELF_CORRECTION)
    assert settings["self-correction"] == "action_only, 4 attempts"
    assert settings["seed"] == "5"
    assert run_settings(recipe, Stage.EVALUATE)["self-correction"] == "none"
