"""What a run directory tells of its speed."""

import json
from pathlib import Path

import pytest

from tests.support.runs import write_rl_round
from thor_ray.cli import main
from thor_ray.config import Recipe, validate_recipe
from thor_ray.errors import UserError
from thor_ray.planning import measured_run
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog


def timed_run(path: Path, rounds: int, recipe: Recipe | None = None) -> RunDirectory:
    """A run that was interrupted in hierarchical RL."""
    with RunLog.create(path, recipe or Recipe(name=path.name), "train") as log:
        for number in range(rounds):
            write_rl_round(log, number)
            log.record_metrics(Stage.RL, number, {"sampling_seconds": 1e-4, "learner/seconds": 2e-4})
    return RunDirectory(path)


def test_rounds_are_timed_from_one_to_the_next_with_their_trajectories(tmp_path):
    run = measured_run(timed_run(tmp_path / "r", 4))
    assert [each.index for each in run.rounds] == [1, 2, 3]
    for each in run.rounds:
        assert (len(each.episodes), len(each.steps)) == (6, 2)
        assert each.seconds > 0
        assert each.learner_seconds == pytest.approx(2e-4)
        assert each.tokens > 0
    assert run.typical.seconds == sorted(each.seconds for each in run.rounds)[1]
    assert len(run.lengths().episodes) == 6


def test_a_run_that_says_nothing_of_its_speed_is_refused(tmp_path):
    with pytest.raises(UserError, match="has 1 timed rounds of RL, 2 are needed"):
        measured_run(timed_run(tmp_path / "short", 2))
    ahead = validate_recipe({"name": "ahead", "rl": {"stream": {"max_staleness": 1}}}, "test")
    with pytest.raises(UserError, match="its times overlap"):
        measured_run(timed_run(tmp_path / "ahead", 4, ahead))


def test_the_plan_of_a_measured_run_as_json(tmp_path, capsys):
    run = timed_run(tmp_path / "r", 4)
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "plan",
                "smoke",
                "--gpus",
                "3",
                "--measured",
                str(run.path),
                "--learner-tokens-per-second",
                "500",
                "--json",
            ]
        )
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rates"]["learner_seconds"] == 1 / 500
    assert told["best"] == told["splits"][0]
    assert {(each["engines"], each["ranks"]) for each in told["splits"]} <= {(1, 2), (2, 1)}
    assert {"tokens_per_second", "idle_engines", "idle_learner", "staleness_mean", "staleness_worst"} <= set(
        told["best"]
    )


def test_the_plan_for_a_data_sheet_names_the_best_split(tmp_path, capsys):
    lengths = tmp_path / "dist.json"
    lengths.write_text(json.dumps({"lengths": [300, 900, 2400], "step_lengths": [200]}))
    small = [
        "--set",
        "rl.groups_per_round=64",
        "--set",
        "rl.updates_per_round=1",
        "--set",
        "rl.step_groups_per_round=16",
    ]
    with pytest.raises(SystemExit) as ended:
        main(["plan", "thor-7b", "--gpus", "6", "--gpu", "H200", "--lengths", str(lengths), *small])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "mean 1200 tokens" in told
    assert "best: --set engine.actors=" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing says how fast the hardware is"),
        (["--gpu", "h2000"], "choose one of a100, h100, h200, b200, l40s"),
        (["--gpu", "h200", "--lengths", "/nothing"], "/nothing cannot be read"),
        (["--gpu", "h200", "--model", "/nothing"], "no config.json of a dense decoder"),
        (["--measured", "/nothing"], "/nothing"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_what_to_do(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "thor-7b", "--gpus", "8", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_lengths_beyond_the_context_are_refused(tmp_path, capsys):
    (tmp_path / "dist.json").write_text("[100000]")
    with pytest.raises(SystemExit):
        main(["plan", "thor-7b", "--gpus", "8", "--gpu", "h200", "--lengths", str(tmp_path / "dist.json")])
    assert "policy.max_context is 4096" in capsys.readouterr().err
