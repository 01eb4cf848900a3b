"""No way for an actor or a driver to end leaves a process behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayActorError

from actors.placement import ClusterError, start_rollout_actors, stop_rollout_actors
from thor_ray.config import Recipe

pytestmark = [pytest.mark.integration, pytest.mark.slow]


PATIENCE = 120.0
"""Seconds, of a machine that may be busy with other things; what is awaited takes one."""


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def titles(processes: list[psutil.Process]) -> str:
    """What they call themselves, without those that have ended meanwhile."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(" ".join([process.name(), *process.cmdline()]))
    return "\n".join(found)


def pid_of(actor: Any) -> int:
    pid: int = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
    return pid


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; one whose parent does not wait for it counts as ended."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left_of(processes: list[psutil.Process]) -> str:
    """Titles of those that do not end by themselves."""
    deadline = time.monotonic() + PATIENCE
    while (left := living(processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return titles(left)


def test_closed_and_killed_actors_leave_no_process(ray_cluster: Any, tiny_policies: Any, recipe: Recipe) -> None:
    two = recipe.model_copy(update={"engine": recipe.engine.model_copy(update={"actors": 2})})
    closed, killed = start_rollout_actors(two, str(tiny_policies.taught))
    for actor in (closed, killed):
        names = titles(descendants(pid_of(actor)))
        assert "EngineCore" in names
        assert "zygote" in names

    # Python's own resource tracker stays as long as the actor's process, which close() does not end.
    children = [each for each in descendants(pid_of(closed)) if "resource_tracker" not in titles([each])]
    ray.get(closed.close.remote(), timeout=PATIENCE)
    assert left_of(children) == ""
    assert ray.get(killed.ready.remote()) == 0

    pid = pid_of(killed)
    children = descendants(pid)
    os.kill(pid, signal.SIGKILL)
    assert left_of(children) == ""
    stop_rollout_actors([closed], close_seconds=0)


def test_what_the_cluster_cannot_give_is_refused_at_once(ray_cluster: Any, recipe: Recipe) -> None:
    many = recipe.model_copy(update={"engine": recipe.engine.model_copy(update={"actors": 99})})
    with pytest.raises(ClusterError, match=r"99 rollout actors need 99 CPU, the cluster has \d+; lower engine.actors"):
        start_rollout_actors(many, "nowhere")


def test_an_engine_that_cannot_start_says_why(ray_cluster: Any, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RayActorError, match="nowhere"):
        start_rollout_actors(recipe, str(tmp_path / "nowhere"))


DRIVER = """
import os, sys, time
from pathlib import Path
import psutil, ray
from actors.placement import RayCluster

if __name__ == "__main__":
    with RayCluster(cpus=2, temp_dir=Path(sys.argv[1])) as cluster:
        assert cluster.is_own and cluster.dashboard_url.startswith("http://127.0.0.1:")
        ray.get(ray.remote(lambda: os.getpid()).remote())
        print(*(process.pid for process in psutil.Process().children(recursive=True)), flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_cluster_of_our_own_ends_with_its_driver(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    temp_dir = Path(f"/tmp/ray-{os.getpid()}-{how.value}")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, str(script), str(temp_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | {"PYTHONPATH": str(Path.cwd())},
        text=True,
    )
    assert driver.stdout is not None
    processes = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
    assert len(processes) >= 3
    agents = [process for process in processes if process.name().endswith("Agent")]
    driver.send_signal(how)
    driver.wait(timeout=PATIENCE)
    assert left_of([process for process in processes if process not in agents]) == ""
    # Ray's agents would end by themselves once they have given up reporting the loss, which takes them a minute.
    for agent in living(agents):
        agent.kill()
    driver.stdout.close()


STOPPED_DRIVER = """
import os, signal, sys, threading, time
from pathlib import Path
from actors.placement import RayCluster

def stop(number, frame):
    raise KeyboardInterrupt

def ask():
    time.sleep(float(sys.argv[2]))
    os.kill(os.getpid(), signal.Signals[sys.argv[3]])

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    early = sys.argv[2] != "up"
    if early:
        threading.Thread(target=ask, daemon=True).start()
    try:
        with RayCluster(cpus=2, temp_dir=Path(sys.argv[1])) as cluster:
            print("up", flush=True)
            if not early:
                os.kill(os.getpid(), signal.Signals[sys.argv[3]])
            time.sleep(600)
    except KeyboardInterrupt:
        print("stopped in order", flush=True)
    assert signal.getsignal(signal.SIGTERM) is stop
"""


@pytest.mark.parametrize(
    ("when", "how"),
    [("1", signal.SIGTERM), ("1.5", signal.SIGINT), ("up", signal.SIGTERM)],
)
def test_a_stop_is_orderly_while_a_cluster_of_our_own_starts_and_afterwards(
    when: str, how: signal.Signals, tmp_path: Path
) -> None:
    """Ray would take SIGTERM for itself, and a signal in the middle of its start would abort the process."""
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(STOPPED_DRIVER))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    driver = subprocess.run(
        [sys.executable, str(script), f"/tmp/ray-{os.getpid()}-{when}", when, how.name],
        env=environment | {"PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (driver.returncode, driver.stdout.splitlines()[-1:]) == (0, ["stopped in order"]), driver.stderr[-2000:]
