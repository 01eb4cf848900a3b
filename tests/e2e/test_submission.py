"""Jobs on a Ray cluster of one node that `ray start` has started: with a token, and open to all."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import THOR
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 250
TOKEN = "a1b2c3d4" * 8
SMALL = ["problems.train.count=24", "problems.heldout.count=4", "evaluation.samples_per_problem=1", "rl.rounds=25"]
SMALL += ["rl.groups_per_round=4", "rl.group_size=2", "rl.step_group_size=2", "rl.updates_per_round=1"]
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


@dataclass(frozen=True)
class Head:
    """A running cluster.

    Attributes:
        address: Of its job server.
        environment: Of a user who may use it.
        agent: Where the node says whether it is well.
    """

    address: str
    environment: dict[str, str]
    agent: str

    def thor(self, place: Path, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*THOR, *arguments, "--address", self.address],
            cwd=place,
            env={**self.environment, "COLUMNS": "200", "NO_COLOR": "1", **changes},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture(scope="module", params=["disabled", "token"])
def head(request: pytest.FixtureRequest) -> Iterator[Head]:
    """A head node on free ports; the processes below it end with it."""
    place = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "THOR_"))}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "HOME": str(place),
        "RAY_AUTH_MODE": request.param,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(place),
        # A busy machine is slow, not dead.
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(DEADLINE_SECONDS),
        "RAY_agent_register_timeout_ms": str(1000 * DEADLINE_SECONDS),
        "RAY_health_check_timeout_ms": str(1000 * DEADLINE_SECONDS),
    }
    if request.param == "token":
        environment["RAY_AUTH_TOKEN"] = TOKEN
    gcs, dashboard, agent, metrics, client = free_ports(5)
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=4"]
    command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--metrics-export-port={metrics}", f"--ray-client-server-port={client}", "--include-dashboard=true"]
    command += [f"--temp-dir={place}"]
    with (place / "start.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        started = time.monotonic()
        while True:
            assert process.poll() is None, (place / "start.log").read_text()[-2000:]
            assert time.monotonic() < started + DEADLINE_SECONDS, (place / "start.log").read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", dashboard), timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield Head(f"http://127.0.0.1:{dashboard}", environment, f"http://127.0.0.1:{agent}")
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that is sent along, with a recipe of the user's own and a file that must stay behind."""
    (tmp_path / "work" / "data").mkdir(parents=True)
    (tmp_path / "work" / "mine.yaml").write_text("extends: smoke\nname: mine\n")
    (tmp_path / "work" / "data" / "large.bin").write_bytes(b"\0" * 1024)
    return tmp_path / "work"


def probes() -> Iterator[dict[str, Any]]:
    """Of the head's container in the manifests for Kubernetes."""
    cluster = yaml.safe_load((ROOT / "deploy/kubernetes/base/cluster.yaml").read_text())
    (container,) = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    yield from (container["readinessProbe"], container["livenessProbe"])


def job_of(submitted: "subprocess.CompletedProcess[str]") -> str:
    assert submitted.returncode == 0, submitted.stderr
    return submitted.stdout.split()[1].rstrip(":")


def test_a_node_answers_the_probes_of_kubernetes_without_a_token(head):
    (path,) = {probe["httpGet"]["path"] for probe in probes()}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{head.agent}{path}", timeout=10) as answer:
                assert answer.status == 200
            return
        except OSError:
            # The agent starts after the dashboard; a refusal for want of a token would last.
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_a_job_dry_runs_with_the_cluster_that_it_is_in(head, place, tmp_path):
    done = head.thor(place, "submit", "mine.yaml", "--runs", str(tmp_path / "runs"), "--dry-run", "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 node of 4 CPUs" in done.stdout
    assert "succeeded" in done.stdout
    assert not (tmp_path / "runs").exists()
    unknown = head.thor(place, "attach", "thor-nobody")
    assert unknown.returncode == 2
    assert "thor-nobody" in unknown.stderr
    if head.environment["RAY_AUTH_MODE"] == "token":
        refused = head.thor(place, "attach", "thor-nobody", RAY_AUTH_TOKEN="wrong" * 8)
        assert refused.returncode == 2
        assert "token" in refused.stderr
        assert "fix: set RAY_AUTH_MODE=token" in refused.stderr


def rounds_of(run: Path, attempt: int) -> list[int]:
    """Rounds of hierarchical RL that one attempt has recorded."""
    if not (run / "metrics.jsonl").is_file():
        return []
    lines = [line for line in RunDirectory(run).metrics(Stage.RL) if "reward" in line.metrics]
    return [line.round for line in lines if line.attempt == attempt and line.round is not None]


@pytest.mark.timeout(1200)
def test_a_job_survives_its_watcher_is_stopped_and_goes_on(head, place, tmp_path):
    if head.environment["RAY_AUTH_MODE"] == "disabled":
        pytest.skip("once is enough; the cluster with a token is the harder one")
    # No checkpoint is due before the end: what is kept is kept because the run was stopped.
    never = ["--set", "learner.checkpoint_every=1000"]
    arguments = ["submit", "mine.yaml", "--runs", str(tmp_path / "runs"), "--name", "one", *SETTINGS, *never]
    run = tmp_path / "runs" / "one"
    first = job_of(head.thor(place, *arguments))
    watcher = subprocess.Popen(
        [*THOR, "attach", first, "--address", head.address],
        env=head.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not rounds_of(run, attempt=1):
        assert time.monotonic() < deadline, head.thor(place, "attach", first).stdout[-3000:]
        time.sleep(0.2)
        watcher.kill()
    watcher.wait()
    stopped = head.thor(place, "stop", first)
    assert "stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    assert [path.name for path in run.glob("checkpoints/learner/rl/*")]
    finished = rounds_of(run, attempt=1)
    done = head.thor(place, *arguments, "--follow")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "--resume" not in done.stdout.splitlines()[0], "the job decides on the cluster"
    assert (run / "report.json").is_file()
    assert rounds_of(run, attempt=2) == list(range(finished[-1] + 1, 25)), "no round was lost, and none made twice"


def test_rays_own_client_submits_too_and_leaves_behind_what_is_excluded(head, place, tmp_path):
    (options,) = re.findall(r"--runtime-env-json '(.+)'", (ROOT / "docs/clusters.md").read_text())
    submit = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--address", head.address]
    look = f"find . -type f; thor train mine.yaml --run-dir {tmp_path / 'runs' / 'two'} --dry-run"
    submitted = subprocess.run(
        [*submit, "--working-dir", ".", "--runtime-env-json", options, "--", "sh", "-c", look],
        cwd=place,
        env=head.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "./mine.yaml" in submitted.stdout
    assert "large.bin" not in submitted.stdout
    assert "1 node of 4 CPUs" in submitted.stdout
