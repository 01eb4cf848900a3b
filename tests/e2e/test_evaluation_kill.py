"""An evaluation that is killed half-way and gone on with is the one that was never killed: real engines, real kills."""

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.support.background import PATIENCE, begin, told, wait_for_lines
from thor_ray.evaluation.samples import EvaluationSample
from thor_ray.evaluation.store import FOLDER, read_samples
from thor_ray.records import Stage, read_records
from thor_ray.run_directory import RunDirectory
from thor_ray.run_state import RunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PROBLEMS, SAMPLES = 60, 2
ASKED = [
    "eval",
    *("--samples", str(SAMPLES), "--strategy", "none", "--strategy", "full_replan", "--seed", "3"),
    *("--set", f"problems.heldout.count={PROBLEMS}", "--set", "evaluation.sampling.max_new_tokens=48"),
    # Few at a time, so that there is a middle in which to be killed.
    *("--set", "engine.max_sequences=4", "--set", "sandbox.timeout_seconds=60"),
]


def what_was_sampled(row: EvaluationSample) -> dict[str, Any]:
    """A row less what depends on the clock, and on what happened to be in the key-value cache."""
    told_of = dataclasses.asdict(row)
    del told_of["timing"], told_of["attempt"], told_of["tokens"]["cached"]
    return told_of


def tokens_of(run: RunDirectory) -> dict[str, tuple[int, ...]]:
    return {record.trajectory.id: record.trajectory.ids for record in read_records(run.record_files(Stage.EVALUATE))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The evaluation that nobody disturbed, by one engine."""
    place = tmp_path_factory.mktemp("whole")
    assert begin(place, *ASKED).wait(PATIENCE) == 0, told(place)
    return RunDirectory(place / "runs" / "eval")


@pytest.fixture
def rows() -> Callable[[RunDirectory], list[EvaluationSample]]:
    return lambda run: read_samples(run.path / FOLDER / "samples.jsonl")


def test_killed_in_the_middle_and_resumed_by_more_engines_it_samples_the_same(whole, rows, tmp_path):
    run = RunDirectory(tmp_path / "runs" / "eval")
    file = run.path / FOLDER / "samples.jsonl"
    first = begin(tmp_path, *ASKED, "--set", "engine.actors=2")
    wait_for_lines(first, tmp_path, file, 30)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = len(rows(run))
    assert 30 <= before < 2 * PROBLEMS * SAMPLES
    assert run.state().seen_status is RunStatus.INTERRUPTED
    with file.open("ab") as torn:
        torn.write(b'{"benchmark": "held-o')
    assert begin(tmp_path, *ASKED, "--set", "engine.actors=2", "--resume").wait(PATIENCE) == 0, told(tmp_path)

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 2 * PROBLEMS * SAMPLES, "a sample was done twice, or not at all"
    assert sum(line["attempt"] == 1 for line in lines) == before, "finished samples were not kept"
    assert list(map(what_was_sampled, rows(run))) == list(map(what_was_sampled, rows(whole)))
    tokens = tokens_of(run)
    assert tokens == tokens_of(whole)
    assert set(tokens) == {row.trajectory_id for row in rows(run)}
    assert not list(run.records.glob("*.spool"))
    assert f"{before:,} of {len(lines):,} samples are done already" in told(tmp_path)


def test_interrupted_it_says_how_to_go_on(tmp_path):
    process = begin(tmp_path, *ASKED)
    wait_for_lines(process, tmp_path, tmp_path / "runs/eval" / FOLDER / "samples.jsonl", 10)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert "Go on with: thor eval --samples 2" in told(tmp_path)
    run = RunDirectory(tmp_path / "runs" / "eval")
    assert run.state().status is RunStatus.INTERRUPTED
    assert len(tokens_of(run)) == len(read_samples(run.path / FOLDER / "samples.jsonl")) >= 10


def kill_engines(process: "subprocess.Popen[bytes]") -> None:
    actors = [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if "RolloutActor" in " ".join(each.cmdline())
    ]
    assert actors, "no engine was found"
    for actor in actors:
        actor.kill()


def test_a_dead_engine_is_replaced_and_the_same_is_sampled(whole, rows, tmp_path):
    process = begin(tmp_path, *ASKED)
    wait_for_lines(process, tmp_path, tmp_path / "runs/eval" / FOLDER / "samples.jsonl", 10)
    kill_engines(process)
    assert process.wait(PATIENCE) == 0, told(tmp_path)
    run = RunDirectory(tmp_path / "runs" / "eval")
    assert list(map(what_was_sampled, rows(run))) == list(map(what_was_sampled, rows(whole)))
    assert tokens_of(run) == tokens_of(whole)


def test_without_restarts_a_dead_engine_ends_it_with_what_was_sampled(tmp_path):
    process = begin(tmp_path, *ASKED, "--set", "engine.restarts.most=0")
    wait_for_lines(process, tmp_path, tmp_path / "runs/eval" / FOLDER / "samples.jsonl", 10)
    kill_engines(process)
    assert process.wait(PATIENCE) == 1, told(tmp_path)
    assert "rollout actor 0 died" in told(tmp_path)
    assert "go on with the same command and --resume" in told(tmp_path)
