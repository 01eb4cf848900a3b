"""Rows and trajectories are on disk the moment a sample is finished, whatever kills the writer afterwards."""

import dataclasses
from pathlib import Path

import pytest

from tests.support.evaluations import sample
from tests.support.runs import trajectory
from thor_ray.config import Recipe, RepairStrategy
from thor_ray.evaluation import recording as module
from thor_ray.evaluation.recording import recording, trajectory_of
from thor_ray.evaluation.samples import SampleKey
from thor_ray.record_spool import RecordSpool
from thor_ray.records import Record, Stage, read_records
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog
from thor_ray.stages.evaluate import sample_seed
from thor_ray.trajectory import GroupKind


def record(name: str) -> Record:
    return Record(trajectory(name), "g", GroupKind.EPISODE, None, Stage.EVALUATE, 0, texts=("héllo \ud800",))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    with RunLog.create(tmp_path / "run", Recipe(), "eval"):
        pass
    return RunDirectory(tmp_path / "run")


def ids(run: RunDirectory) -> list[str]:
    return [each.trajectory.id for each in read_records(run.record_files(Stage.EVALUATE))]


def write(run: RunDirectory, count: int, first: int = 0) -> None:
    with recording(run.path / "samples.jsonl", run) as recorder:
        for number in range(first, first + count):
            row = sample(f"p{number}")
            recorder.record(row, record(trajectory_of(row.key)))


def test_every_row_has_its_trajectory(run, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_FILE", 3)
    write(run, 8)
    assert len(run.record_files(Stage.EVALUATE)) == 3
    write(run, 2, first=8)
    assert ids(run) == [f"math500/none/p{number}/0" for number in range(10)]
    assert not list(run.records.glob("*.spool"))


def test_a_killed_writer_leaves_all_that_has_a_row(run):
    """The spool holds one trajectory whose row is missing, one that is in a file already, and half of a third."""
    write(run, 1)
    with recording(run.path / "samples.jsonl", run) as recorder:
        row = sample("p1")
        recorder.record(row, record(trajectory_of(row.key)))
        for path in (run.records / "evaluate.spool", run.path / "samples.jsonl"):
            (run.path / f"{path.name}.killed").write_bytes(path.read_bytes())
    for path in run.record_files(Stage.EVALUATE)[1:]:
        path.unlink()
    whole = (run.path / "evaluate.spool.killed").read_bytes()
    spool = RecordSpool(run.path / "more.spool", set())
    spool.append(record("math500/none/p9/0"))
    spool.append(record("math500/none/p0/0"))
    more = (run.path / "more.spool").read_bytes()
    (run.records / "evaluate.spool").write_bytes(whole + more + whole[:100])
    with recording(run.path / "samples.jsonl", run) as recorder:
        assert {key.problem_id for key in recorder.done} == {"p0", "p1"}
        assert recorder.attempt == 2
    assert ids(run) == ["math500/none/p0/0", "math500/none/p1/0"]


@pytest.mark.parametrize("torn", [0, 3, 8, 500])
def test_a_torn_frame_costs_only_itself(tmp_path, torn):
    path = tmp_path / "x.spool"
    spool = RecordSpool(path, set())
    spool.append(record("a"))
    frame = path.read_bytes()
    assert len(frame) > 500
    path.write_bytes(frame + frame[:torn])
    again = RecordSpool(path, {"a"})
    assert len(again) == 1
    again.append(record("b"))
    again.gather(tmp_path / "f.parquet")
    again.close()
    assert [each.trajectory.id for each in read_records([tmp_path / "f.parquet"])] == ["a", "b"]
    assert not path.exists()


KEY = SampleKey("math500", None, "p", 0)


@pytest.mark.parametrize(
    "other",
    [
        KEY._replace(benchmark="aime2024"),
        KEY._replace(strategy=RepairStrategy.STEP_SUFFIX),
        KEY._replace(problem_id="q"),
        KEY._replace(sample_index=1),
    ],
)
def test_every_sample_has_a_seed_of_its_own(other):
    assert sample_seed(0, KEY) == sample_seed(0, KEY)
    assert len({sample_seed(0, KEY), sample_seed(1, KEY), sample_seed(0, other)}) == 3
    assert trajectory_of(KEY) != trajectory_of(other)


def test_a_row_says_who_has_its_trajectory():
    assert trajectory_of(dataclasses.replace(sample("p7"), sample_index=3).key) == "math500/none/p7/3"
