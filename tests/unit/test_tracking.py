"""Each sink holds what was recorded, goes on with the same run, and never fails it."""

import json
import math

import pytest

from tests.support.runs import evaluation, trajectory
from thor_ray import tracking
from thor_ray.cli.runs import Launch, resolve
from thor_ray.config import Recipe, TrackingConfig
from thor_ray.errors import PreflightError
from thor_ray.records import Stage
from thor_ray.run_directory import MetricsLine
from thor_ray.runlog import RunLog
from thor_ray.tracking import scalars, sink_faults
from thor_ray.tracking.tensorboard import TensorBoardSink
from thor_ray.tracking.weights_and_biases import wandb_mode


def line(round_index, stage="rl", **metrics):
    return MetricsLine("2026-01-01T00:00:00+00:00", 1, stage, round_index, metrics)


def test_scalars_are_the_defined_numbers_wherever_they_stand():
    figures = {"a": 1, "b": None, "c": {"x": 2, "y": None}, "d": [0.25, 0.75], "e": "word"}
    assert dict(scalars(figures)) == {"a": 1.0, "c/x": 2.0, "d/low": 0.25, "d/high": 0.75}


def test_a_missing_package_is_named_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    (fault,) = sink_faults(TrackingConfig(sinks=("tensorboard",)))
    assert "tensorboard is not installed" in fault.message
    launch = Launch("train", "smoke", ["tracking.sinks=[tensorboard]"], None, tmp_path / "run", False, False, False)
    with pytest.raises(PreflightError, match="tensorboard"):
        resolve(launch)
    assert not (tmp_path / "run").exists()


def events(folder):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def test_tensorboard_has_each_round_once_though_a_run_was_resumed(tmp_path):
    pytest.importorskip("tensorboard", reason="NOT CHECKED: tensorboard is not installed")
    first = TensorBoardSink(tmp_path)
    for number in range(3):
        first.log(line(number, reward=0.5, learner={"loss": 1.0}))
    first.close(succeeded=False)
    again = TensorBoardSink(tmp_path)
    again.log(line(2, reward=0.75, gap=None))
    again.log(line(None, stage="evaluate", correct=1.0))
    again.close(succeeded=True)
    assert events(tmp_path / "rl") == {
        "reward": [(0, 0.5), (1, 0.5), (2, 0.75)],
        "learner/loss": [(0, 1.0), (1, 1.0)],
    }
    assert events(tmp_path / "evaluate") == {"correct": [(0, 1.0)]}


def test_a_full_disk_ends_the_copying_and_not_the_run(tmp_path, caplog):
    pytest.importorskip("tensorboard", reason="NOT CHECKED: tensorboard is not installed")
    (tmp_path / "rl").write_text("a file where a folder should be")
    sink = TensorBoardSink(tmp_path)
    sink.log(line(0, reward=1.0))
    sink.log(line(1, reward=1.0))
    assert [record.message.split(":")[0] for record in caplog.records] == ["TensorBoard is off from here on"]


def test_attached_sinks_get_what_is_recorded_and_are_closed_with_the_run(tmp_path):
    class Notebook:
        def __init__(self):
            self.lines, self.files, self.ended = [], [], None

        def log(self, line):
            self.lines.append(line)

        def log_rollouts(self, stage, round_index, records):
            self.files.append((stage, round_index, records))

        def close(self, *, succeeded):
            self.ended = succeeded

    notebook = Notebook()
    with RunLog.create(tmp_path / "run", Recipe(), "smoke") as run:
        run.attach(notebook)
        run.record_metrics("rl", 4, {"reward": math.nan, "tokens": 7})
        path = run.record_groups(evaluation(Stage.RL, [trajectory("t", "gcd-1", (), "12")]), Stage.RL, 4)
    assert notebook.lines == run.metrics()
    assert notebook.lines[0].metrics == {"reward": None, "tokens": 7}
    assert notebook.files == [(Stage.RL, 4, path)]
    assert notebook.ended is True


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "x"}, "online"),
        ({"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, None),
        ({"WANDB_MODE": "disabled"}, None),
    ],
)
def test_nothing_is_sent_without_a_key(environment, mode):
    assert wandb_mode(environment) == mode


@pytest.mark.slow
def test_wandb_goes_on_with_the_same_run_offline_and_has_a_table_of_rollouts(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    path, recipe = tmp_path / "run", Recipe.model_validate({"tracking": {"sinks": ["wandb"], "wandb_rollouts": 2}})
    with RunLog.create(path, recipe, "smoke") as run:
        run.record_metrics("rl", 0, {"reward": 0.5, "gap": None})
        groups = evaluation(Stage.RL, [trajectory(f"t{n}", f"gcd-{n}", (), "12") for n in range(5)])
        run.record_groups(groups, Stage.RL, 0)
    with RunLog.resume(path) as run:
        run.record_metrics("rl", 1, {"reward": 0.75})
    folders = sorted(path.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    assert len({folder.name.split("-", 3)[3] for folder in folders}) == 1
    (table,) = path.glob("wandb/offline-run-*/files/media/table/rl/rollouts*.json")
    rows = json.loads(table.read_text())["data"]
    assert [row[0] for row in rows] == ["t0", "t1"]
