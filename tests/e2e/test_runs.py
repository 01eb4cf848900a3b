"""Runs as a person starts, stops, kills and resumes them: real processes of ``thor``, and none of them left over."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.live_runs import Run, has_title, is_alive, told
from thor_ray.records import Stage, read_records
from thor_ray.run_directory import RunDirectory
from thor_ray.run_state import RunStatus

pytestmark = pytest.mark.slow

QUESTIONS = {
    "Ann has 3 apples and buys 4 more. How many apples does she have?": "7",
    "A box holds 12 eggs. How many eggs are in 5 boxes?": "60",
    "Ben had 20 coins and gave 8 of them away. How many are left?": "12",
    "A train needs 90 minutes for a trip. How many hours are 4 such trips?": "6",
    "Half of the 18 pupils of a class wear glasses. How many pupils do not?": "9",
    "Mia reads 15 pages a day. In how many days does she read 105 pages?": "7",
    "A shirt costs $40 and is sold 25% cheaper. What does it cost now, in dollars?": "30",
    "Two numbers add up to 21, and one is twice the other. What is the smaller one?": "7",
}

SMALL = [
    *("--set", "problems.heldout.count=4"),
    *("--set", "evaluation.samples_per_problem=2"),
    *("--set", "evaluation.sampling.max_new_tokens=64"),
    *("--set", "engine.max_sequences=32"),
]
SMALL_RL = [
    *("--set", "rl.groups_per_round=4"),
    *("--set", "rl.group_size=2"),
    *("--set", "rl.sampling.max_new_tokens=64"),
]


@pytest.fixture
def thor(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts runs in a directory of their own, and sees to it that none outlives the test."""
    started: list[Run] = []

    def start(*arguments: str, **environment: str) -> Run:
        started.append(Run(list(arguments), tmp_path, environment))
        return started[-1]

    yield start
    for run in started:
        run.clean_up()


def finished_stages(run: RunDirectory) -> list[str]:
    return run.state().finished_stages if run.progress_file.is_file() else []


def assert_whole(run: RunDirectory, problems: set[str], rounds: int) -> None:
    """A finished training run says all that it should."""
    state = run.state()
    assert state.status is RunStatus.FINISHED
    assert state.finished_stages == [Stage.RL, Stage.EVALUATE_RL, Stage.EVALUATE_RL_SELF_CORRECTION]
    report = json.loads(run.report_json.read_text())
    assert set(report["stages"]) == {"rl", "rl_self_correction"}
    assert all(0 <= stage["pass_at_1"] <= 1 for stage in report["stages"].values())
    assert len(report["rl_curve"]) == rounds
    assert report["trajectories"]["dropped"].get("no_reward", 0) == 0
    assert run.report_html.stat().st_size > 1000
    assert (run.checkpoints / "rl" / "model.safetensors").is_file()
    rows = list(read_records(run.record_files(Stage.RL)))
    assert {row.round for row in rows} == set(range(rounds))
    assert {row.trajectory.problem_id for row in rows} <= problems
    assert all(row.trajectory.reward in (0.0, 1.0) for row in rows if row.trajectory.parent is None)
    assert all(row.gold_answer for row in rows)


def test_training_on_a_file_of_word_problems(thor, tmp_path):
    lines = [json.dumps({"problem": question, "answer": answer}) for question, answer in QUESTIONS.items()]
    (tmp_path / "words.jsonl").write_text("\n".join(lines))
    run = thor("train", "--problems", "words.jsonl", "--set", "rl.rounds=1", *SMALL, *SMALL_RL)
    assert run.finish() == 0, run.errors.read_text()
    assert "Traceback" not in run.errors.read_text()
    assert "8 train, 4 held out" in run.output.read_text()
    assert_whole(RunDirectory(tmp_path / "runs/train"), {f"words-{number}" for number in range(1, 9)}, rounds=1)
    assert run.left_over(seconds=30) == []


def test_training_on_gsm8k(thor, tmp_path):
    """64 real problems, two rounds, and a policy that can solve next to none of them."""
    data = os.environ.get("THOR_DATA")
    if data is None or not (file := Path(data) / "data/gsm8k_train.jsonl").is_file():
        pytest.skip("NOT CHECKED: set THOR_DATA to a folder with data/gsm8k_train.jsonl to train on real problems")
    settings = ("--set", "problems.train.count=64", "--set", "rl.rounds=2")
    run = thor("train", "--problems", str(file), *settings, *SMALL)
    assert run.finish() == 0, run.errors.read_text()
    directory = RunDirectory(tmp_path / "runs/train")
    assert_whole(directory, {f"gsm8k-train-{number}" for number in range(64)}, rounds=2)
    # Nothing to learn from: the base policy answers none of them, and its sort of solution has no programs.
    rewards = [line.metrics["reward"] for line in directory.metrics(Stage.RL) if "reward" in line.metrics]
    assert max(rewards) < 0.1
    assert run.left_over(seconds=30) == []


def test_a_run_that_is_interrupted_resumed_and_killed(thor, tmp_path):
    """Ctrl-C in the second stage, `--resume` as the message says, and SIGKILL in the second stage again."""
    directory = RunDirectory(tmp_path / "runs/smoke")
    first = thor("smoke", "--quick", *SMALL)
    # Ray names an actor's process only when its constructor runs, and learners come up while the first stage samples.
    first.wait_for(lambda: first.shows("raylet", "gcs_server", "RolloutActor", "EngineCore", "zygote", "Learner"))
    first.wait_for(
        lambda: Stage.EVALUATE_BASE in finished_stages(directory) and Stage.TIRGEN in directory.state().stages
    )
    before = directory.state()
    # A terminal sends Ctrl-C to everything that runs in its foreground.
    os.killpg(first.process.pid, signal.SIGINT)
    assert first.finish(seconds=120) == 130
    assert first.left_over(seconds=30) == []
    after = directory.state()
    assert after.status is RunStatus.INTERRUPTED
    assert after.finished_stages == [Stage.EVALUATE_BASE]
    first_output, errors = first.output.read_text(), first.errors.read_text()
    assert "Interrupted." in errors
    assert "Traceback" not in errors
    (advice,) = [line for line in errors.splitlines() if line.startswith("Go on with: thor ")]
    assert advice.endswith(" --resume")

    second = thor(*shlex.split(advice.removeprefix("Go on with: thor ")))
    begun = before.stages[Stage.TIRGEN].started
    second.wait_for(lambda: directory.state().stages[Stage.TIRGEN].started != begun)
    second.look()
    second.process.kill()
    assert second.finish(seconds=30) == -signal.SIGKILL
    assert second.left_over(seconds=30) == []
    state = directory.state()
    assert (state.status, state.seen_status, state.attempt) == (RunStatus.RUNNING, RunStatus.INTERRUPTED, 2)
    assert state.stages[Stage.EVALUATE_BASE] == before.stages[Stage.EVALUATE_BASE], "a finished stage was done again"
    assert "evaluate base: done" in first_output
    assert "evaluate base: done" not in second.output.read_text()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, psutil.Process, Path]]:
    """A Ray cluster that somebody else started: its address, the process that all of it hangs on, and its folder."""
    ports = free_ports(7)
    # Unix sockets have short names only; and a place of its own, since Ray notes there which cluster is the latest.
    place = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    options = {
        "port": ports[0],
        "ray-client-server-port": ports[1],
        "dashboard-agent-listen-port": ports[2],
        "dashboard-agent-grpc-port": ports[3],
        "runtime-env-agent-port": ports[4],
        "metrics-export-port": ports[5],
        "dashboard-port": ports[6],
        "num-cpus": 4,
        "node-ip-address": "127.0.0.1",
        "include-dashboard": "false",
        "temp-dir": place,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    with (tmp_path / "cluster.txt").open("wb") as output:
        head = psutil.Popen(
            [*ray, *(f"--{name}={value}" for name, value in options.items())],
            env={**environment, "RAY_AUTH_MODE": "disabled"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not answers(ports[0]):
            assert head.poll() is None, (tmp_path / "cluster.txt").read_text()
            assert time.monotonic() < deadline, (tmp_path / "cluster.txt").read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{ports[0]}", head, place
    finally:
        members = {head, *head.children(recursive=True)}
        head.terminate()
        _, stubborn = psutil.wait_procs(members, timeout=30)
        for process in stubborn:
            process.kill()
        shutil.rmtree(place, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_cluster_that_is_there_already_is_used_and_left_alone(thor, tmp_path, cluster):
    address, head, place = cluster
    run = thor("eval", *SMALL, RAY_ADDRESS=address, RAY_AUTH_MODE="disabled")
    assert run.finish() == 0, run.errors.read_text()
    assert finished_stages(RunDirectory(tmp_path / "runs/eval")) == [Stage.EVALUATE]
    # Each worker's output begins with the name of its actor.
    outputs = list(place.glob("session_2*/logs/worker-*.out"))
    assert any(":actor_name:RolloutActor" in output.read_text() for output in outputs), "the actor ran somewhere else"
    assert run.left_over(seconds=30) == []
    actors = [each for each in head.children(recursive=True) if has_title(each, "RolloutActor", "EngineCore")]
    assert psutil.wait_procs(actors, timeout=30)[1] == []
    names = " ".join(told(each) for each in head.children(recursive=True))
    assert is_alive(head)
    assert "raylet" in names
    assert "gcs_server" in names
