"""Every recorded figure is registered once, and what is made of the registry is up to date."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.support.runs import evaluation, trajectory, write_run
from thor_ray.config import Recipe
from thor_ray.grading import GradeStatus
from thor_ray.metrics import EvaluationStatistics, round_metrics
from thor_ray.metrics_registry import (
    EXECUTIONS,
    FINISH_REASONS,
    GRADES,
    GROUP_REJECTS,
    PASS_SIZES,
    REGISTRY,
    TRAJECTORY_REJECTS,
    Scope,
    metric_of,
    scopes_of,
    unregistered,
)
from thor_ray.metrics_table import grafana_board, prometheus_name, registry_markdown
from thor_ray.objectives.statistics import PolicyStatistics
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.selection import GroupReject, TrajectoryReject
from thor_ray.trajectory import ExecutionStatus, FinishReason

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("variants", "enumeration"),
    [
        # What is suspended is not finished, so no round counts it.
        (FINISH_REASONS, [each for each in FinishReason if each is not FinishReason.SUSPENDED]),
        (GRADES, GradeStatus),
        (TRAJECTORY_REJECTS, TrajectoryReject),
        (GROUP_REJECTS, GroupReject),
    ],
)
def test_variants_are_the_values_of_what_they_name(variants, enumeration):
    assert variants == tuple(enumeration)


def test_executions_are_all_but_our_own_failures():
    assert set(EXECUTIONS) == set(ExecutionStatus) - {ExecutionStatus.INFRA_ERROR}


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.SOLVE])
def test_a_name_means_one_thing_in_a_stage(stage):
    names = [name for scope in scopes_of(stage) for metric in REGISTRY[scope] for name in metric.names]
    assert names
    assert len(names) == len(set(names))


def test_what_is_recorded_is_registered(tmp_path):
    for line in RunDirectory(write_run(tmp_path / "run")).metrics():
        assert unregistered(line.stage, line.metrics) == []
    steps = dict.fromkeys(("reference_tokens", "entropy_tokens", "tokens", "importance_square_sum"), 1.0)
    assert unregistered("rl", (f"learner/{name}" for name in PolicyStatistics(**steps).metrics())) == []
    fields = {field.name for field in dataclasses.fields(EvaluationStatistics)}
    passes = {f"pass_at/{k}" for k in PASS_SIZES}
    assert fields | passes == {name for metric in REGISTRY[Scope.EVALUATION] for name in metric.names}


def test_a_misspelt_name_is_told_and_so_is_any_of_an_unknown_stage():
    assert unregistered("rl", ["reward", "rewrd", "finish/answered", "finish/bored"]) == ["finish/bored", "rewrd"]
    assert unregistered("dreaming", ["reward"]) == ["reward"]
    assert metric_of("rl", "tokens") is not metric_of("cold_start", "tokens")


def test_shares_of_a_round_add_up_to_one():
    figures = round_metrics(evaluation(Stage.RL, [trajectory(f"t{n}", "gcd-1", (), "12") for n in range(3)]), 1.0)
    assert sum(figures[f"grade/{status}"] or 0 for status in GRADES) == pytest.approx(1)
    assert [figures[f"code/{status}"] for status in EXECUTIONS] == [None] * len(EXECUTIONS)


def test_documentation_and_board_are_those_of_the_registry():
    again = "thor config metrics --{} > {}"
    assert (ROOT / "docs/metrics.md").read_text() == registry_markdown(), again.format("markdown", "docs/metrics.md")
    board = json.loads((ROOT / "deploy/grafana/thor.json").read_text())
    assert board == grafana_board(), again.format("grafana", "deploy/grafana/thor.json")


def test_every_expression_of_the_board_asks_for_a_gauge_that_a_run_sets():
    known = {
        f"ray_{prometheus_name(stage, name)}"
        for stage in Stage
        for scope in scopes_of(stage)
        for metric in REGISTRY[scope]
        for base in metric.names
        for name in (base, f"{base}/low", f"{base}/high")
    }
    asked = [target["expr"].partition("{")[0] for panel in grafana_board()["panels"] for target in panel["targets"]]
    assert len(asked) > 40
    assert set(asked) <= known


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"sinks": ["tensorboad"]}, "tensorboard"),
        ({"sinks": ["wandb", "wandb"]}, "names one twice"),
        ({"wandb_rollouts": 3}, "wandb_rollouts does nothing without wandb"),
        ({"sinks": ["ray"], "wandb_project": "mine"}, "wandb_project does nothing without wandb"),
    ],
)
def test_tracking_that_would_do_nothing_is_refused(tracking, message):
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate({"tracking": tracking})
