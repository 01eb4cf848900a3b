"""A run directory says how far its run got, whatever ended it, and belongs to one process at a time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.config import Recipe
from thor_ray.errors import (
    DiskFullError,
    RecordFormatError,
    RunExistsError,
    RunLockedError,
    RunNotFoundError,
    UserError,
)
from thor_ray.files import atomic_path, require_free_space
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.run_state import Owner, RunState, RunStatus
from thor_ray.runlog import RunLog
from thor_ray.trajectory import FinishReason, Group, GroupKind, SpanKind, TrajectoryBuilder

RECIPE = Recipe(name="r", seed=3)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r"


def one_group(uid: str) -> Group:
    builder = TrajectoryBuilder(f"t-{uid}", "p", [1, 2])
    builder.append_sampled(SpanKind.ANSWER, [3], [-0.5], 0)
    return Group(uid, GroupKind.EPISODE, "p", (builder.finish(FinishReason.ANSWERED),))


def killed_state(path: Path) -> dict[str, object]:
    """Runs a process that creates a run, finishes one stage, is killed in the next, and returns its progress."""
    script = f"""
import os, signal
from pathlib import Path
from thor_ray.config import Recipe
from thor_ray.runlog import RunLog
with RunLog.create(Path({str(path)!r}), Recipe(name="r", seed=3), "smoke") as run:
    with run.stage("tirgen") as result:
        result["kept"] = 7
    with run.stage("rl"):
        run.record_metrics("rl", 0, {{"reward": 0.5}})
        os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    tree: dict[str, object] = json.loads((path / "progress.json").read_text())
    return tree


def test_a_run_that_ends_well_says_so(path):
    with RunLog.create(path, RECIPE, "smoke") as run:
        assert RunDirectory(path).state().seen_status is RunStatus.RUNNING
        with run.stage("tirgen") as result:
            result["kept"] = 12
        assert run.finished("tirgen")
    state = RunDirectory(path).state()
    assert state.status is RunStatus.FINISHED
    assert state.command == "smoke"
    assert state.stages["tirgen"].result == {"kept": 12}
    assert RunDirectory(path).recipe() == RECIPE
    assert RunDirectory(path).environment()["versions"]["python"].startswith("3.")


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), RunStatus.INTERRUPTED), (RuntimeError("the engine died"), RunStatus.FAILED)],
)
def test_a_run_that_ends_otherwise_says_how_far_it_got(path, error, status):
    def work() -> None:
        with RunLog.create(path, RECIPE, "smoke") as run:
            with run.stage("tirgen"):
                pass
            with run.stage("rl"):
                raise error

    with pytest.raises(type(error)):
        work()
    state = RunDirectory(path).state()
    assert state.status is status
    assert state.finished_stages == ["tirgen"]
    assert str(error) in state.error


def test_a_killed_run_is_seen_as_interrupted_and_goes_on_after_its_last_finished_stage(path):
    assert killed_state(path)["status"] == "running"
    assert RunDirectory(path).state().seen_status is RunStatus.INTERRUPTED
    with RunLog.resume(path, RECIPE) as run:
        assert run.finished("tirgen")
        assert run.result("tirgen") == {"kept": 7}
        assert not run.finished("rl")
        with pytest.raises(ValueError, match="finished already"), run.stage("tirgen"):
            pass
        with run.stage("rl"):
            run.record_metrics("rl", 0, {"reward": 0.75})
    state = RunDirectory(path).state()
    assert state.attempt == 2
    assert state.finished_stages == ["tirgen", "rl"]
    assert [line.metrics for line in RunDirectory(path).metrics("rl")] == [{"reward": 0.75}]


def test_a_stage_that_is_begun_again_supersedes_its_unfinished_records(path):
    with contextlib.suppress(KeyboardInterrupt), RunLog.create(path, RECIPE, "smoke") as run, run.stage(Stage.RL):
        for number in range(3):
            run.record_groups([one_group(f"old{number}")], Stage.RL, number)
        raise KeyboardInterrupt
    assert len(RunDirectory(path).record_files()) == 3
    with RunLog.resume(path) as run, run.stage(Stage.RL):
        run.record_groups([one_group("new")], Stage.RL, 0)
    assert [file.name for file in RunDirectory(path).record_files(Stage.RL)] == ["rl-00000.parquet"]


def test_a_stage_that_goes_on_keeps_the_records_of_its_finished_rounds(path):
    with contextlib.suppress(KeyboardInterrupt), RunLog.create(path, RECIPE, "smoke") as run, run.stage(Stage.RL):
        for number in range(3):
            run.record_groups([one_group(f"old{number}")], Stage.RL, number)
        raise KeyboardInterrupt
    with RunLog.resume(path) as run, run.stage(Stage.RL, rounds_done=2):
        assert [file.name for file in run.record_files(Stage.RL)] == ["rl-00000.parquet", "rl-00001.parquet"]


def test_a_run_is_not_overwritten_by_accident(path):
    with RunLog.create(path, RECIPE, "smoke") as run:
        (run.checkpoints / "weights").write_text("precious")
    with pytest.raises(RunExistsError, match="holds a run already") as caught:
        RunLog.create(path, RECIPE, "smoke")
    assert "--resume" in caught.value.remedy
    assert (path / "checkpoints" / "weights").read_text() == "precious"
    with RunLog.create(path, RECIPE, "smoke", overwrite=True) as run:
        assert list(run.checkpoints.iterdir()) == []


def test_what_is_no_run_is_never_removed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunExistsError, match="no run"):
        RunLog.create(tmp_path, RECIPE, "smoke", overwrite=True)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(UserError, match="cannot be a run directory"):
        RunLog.create(tmp_path / "thesis.tex" / "r", RECIPE, "smoke")


def test_two_processes_cannot_write_one_run(path):
    with RunLog.create(path, RECIPE, "smoke"):
        for attempt in (lambda: RunLog.create(path, RECIPE, "smoke", overwrite=True), lambda: RunLog.resume(path)):
            with pytest.raises(RunLockedError, match=f"pid {os.getpid()} on"):
                attempt()
        assert RunDirectory(path).state().status is RunStatus.RUNNING
    RunLog.resume(path).__exit__(None, None, None)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_lock(path):
    with RunLog.create(path, RECIPE, "smoke"):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(reading, 1)
    try:
        RunLog.resume(path).__exit__(None, None, None)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_recycled_process_number_is_not_taken_for_the_writer():
    me = Owner.current()
    assert not me.gone
    assert Owner(me.pid, me.host, me.process_started - 100).gone
    assert not Owner(me.pid, "another-host", 0).gone


def test_resuming_refuses_other_settings(path):
    RunLog.create(path, RECIPE, "smoke").__exit__(None, None, None)
    with pytest.raises(UserError, match="seed is 3, not 4"):
        RunLog.resume(path, Recipe(name="r", seed=4))
    sparse = RECIPE.model_copy(update={"tirgen": RECIPE.tirgen.model_copy(update={"keep_by_calls": {1: 0.5}})})
    with pytest.raises(UserError, match=r"tirgen\.keep_by_calls\.1 is None, not 0\.5"):
        RunLog.resume(path, sparse)
    with pytest.raises(RunNotFoundError, match=r"no progress\.json"):
        RunLog.resume(path.parent / "other")


def test_metrics_are_plain_json_lines(path):
    import numpy as np

    with RunLog.create(path, RECIPE, "smoke") as run:
        run.record_metrics("rl", 1, {"loss": float("nan"), "reward": np.float32(0.5), "steps": np.int64(3)})
        run.record_publication("rl", 1, 4, True, 1e-6)
    (line,) = json.loads("[" + (path / "metrics.jsonl").read_text().splitlines()[0] + "]")
    assert line["metrics"] == {"loss": None, "reward": 0.5, "steps": 3}
    assert (line["stage"], line["round"]) == ("rl", 1)
    assert len(RunDirectory(path).metrics("rl")) == 2


def test_a_torn_last_line_is_not_there_and_does_not_spoil_the_next(path):
    with RunLog.create(path, RECIPE, "smoke") as run:
        run.record_metrics("rl", 0, {"a": 1})
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"time": "2026')
    assert len(RunDirectory(path).metrics()) == 1
    with RunLog.resume(path) as run:
        run.record_metrics("rl", 1, {"a": 2})
    assert [line.metrics["a"] for line in RunDirectory(path).metrics()] == [1, 2]
    with (path / "metrics.jsonl").open("a") as file:
        file.write("not metrics\n")
    with pytest.raises(RecordFormatError, match="line 3"):
        RunDirectory(path).metrics()


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=4))
def test_later_attempts_supersede_the_rounds_they_redo(tmp_path_factory, starts):
    """Whatever rounds each attempt got through, the rounds read back never go down."""
    path = tmp_path_factory.mktemp("r")
    lines: list[dict[str, object]] = []
    for attempt, rounds in enumerate(starts, start=1):
        for number in sorted(set(rounds)):
            time_of = (NOW + timedelta(seconds=len(lines))).isoformat()
            lines.append({"time": time_of, "attempt": attempt, "stage": "rl", "round": number, "metrics": {}})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = RunDirectory(path).metrics("rl")
    numbers = [line.round for line in read if line.round is not None]
    assert numbers == sorted(set(numbers))
    if lines:
        assert read[-1].attempt == lines[-1]["attempt"]


def test_a_full_disk_is_named(path, tmp_path):
    RunLog.create(path, RECIPE, "smoke").__exit__(None, None, None)
    (path / "metrics.jsonl").unlink()
    (path / "metrics.jsonl").symlink_to("/dev/full")
    with RunLog.resume(path) as run, pytest.raises(DiskFullError, match=r"writing metrics\.jsonl"):
        run.record_metrics("rl", 0, {"a": 1})
    with pytest.raises(DiskFullError, match=r"needs \d+ MiB of disk"):
        require_free_space(tmp_path / "not" / "there" / "yet", 1 << 40)


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    target = tmp_path / "x.json"
    target.write_text("old")
    with contextlib.suppress(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_run_is_found_by_name_or_path(path, monkeypatch):
    RunLog.create(path, RECIPE, "smoke").__exit__(None, None, None)
    monkeypatch.chdir(path.parents[1])
    assert RunDirectory.find("r").name == RunDirectory.find(path).name == "r"
    with pytest.raises(RunNotFoundError) as caught:
        RunDirectory.find("q")
    assert caught.value.remedy == "runs here: r"


def test_progress_of_another_version_is_refused(path):
    RunLog.create(path, RECIPE, "smoke").__exit__(None, None, None)
    (path / "progress.json").write_text('{"format": 9}')
    with pytest.raises(RecordFormatError, match="format 9"):
        RunDirectory(path).state()


def test_the_state_survives_json():
    state = RunState.new("smoke", Owner.current(), NOW).stage_started("a", NOW).stage_finished("a", 1.5, {"x": 1}, NOW)
    state = state.stage_started("b", NOW).ended(RunStatus.FAILED, NOW, "no luck")
    assert RunState.from_json(json.loads(json.dumps(state.to_json()))) == state
    with pytest.raises(ValueError, match="not under way"):
        state.stage_finished("c", 1, {}, NOW)


@pytest.mark.slow
def test_progress_is_whole_whenever_the_writer_is_killed(path):
    script = f"""
from pathlib import Path
from thor_ray.config import Recipe
from thor_ray.runlog import RunLog
with RunLog.create(Path({str(path)!r}), Recipe(), "smoke", overwrite=True) as run:
    print("go", flush=True)
    for number in range(10**6):
        with run.stage(f"s{{number}}"):
            run.record_metrics("rl", number, {{"x": 1.5}})
"""
    for attempt in range(6):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.02 + 0.007 * attempt)
            writer.kill()
        directory = RunDirectory(path)
        state, lines = directory.state(), directory.metrics()
        assert state.seen_status is RunStatus.INTERRUPTED
        assert len(state.finished_stages) <= len(lines) <= len(state.finished_stages) + 1
        assert [line.round for line in lines] == list(range(len(lines)))
