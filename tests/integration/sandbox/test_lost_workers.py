"""Workers, owners and whole actors that die or stop at the worst of moments: calls return in time, and nothing lives on."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import Sandbox, Status
from tests.integration.sandbox.processes import AT_WORK, at_work, children, eventually, is_alive, worker_processes

ME = os.getpid()
TIMEOUT_SECONDS = 2.0
OVERRUN_SECONDS = 8.0
"""A call that hung would take far longer; how much less than a second it is, `benches/sandbox_soak.py` measures."""
PROGRAM = f"{AT_WORK}import time; time.sleep(0.5); print(1)"


def freeze(worker: int) -> None:
    """Stops a worker, and returns only once the kernel has stopped it."""
    os.kill(worker, signal.SIGSTOP)
    assert eventually(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def before_the_program_exists(worker: int, submit: Callable[[], None]) -> None:
    freeze(worker)
    submit()
    time.sleep(0.1)


def while_the_program_runs(worker: int, submit: Callable[[], None]) -> None:
    submit()
    assert eventually(lambda: bool(at_work(ME)))


def after_the_programs_end(worker: int, submit: Callable[[], None]) -> None:
    """The program has ended, and the worker cannot tell anybody."""
    submit()
    assert eventually(lambda: bool(children(worker)))
    freeze(worker)
    assert eventually(lambda: not any(map(is_alive, children(worker))))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize(
    "moment",
    [before_the_program_exists, while_the_program_runs, after_the_programs_end],
    ids=lambda each: each.__name__,
)
def test_a_call_returns_in_time_whenever_its_worker_is_lost(moment, number, workers):
    others = set(worker_processes(ME))
    with Sandbox(workers=workers, preload=()) as sandbox, ThreadPoolExecutor(workers) as threads:
        ours = [worker for worker in worker_processes(ME) if worker not in others]  # in the order of their start
        calls = []
        begun = []

        def submit() -> None:
            begun.append(time.monotonic())
            calls.append(threads.submit(sandbox.run, PROGRAM, timeout=TIMEOUT_SECONDS))

        moment(ours[0], submit)
        with contextlib.suppress(ProcessLookupError):  # a worker that was frozen may have been replaced by now
            os.kill(ours[0], number)
        result = calls[0].result(timeout=30)
        assert time.monotonic() - begun[0] < TIMEOUT_SECONDS + OVERRUN_SECONDS
        assert result.status in {Status.OK, Status.SANDBOX_ERROR, Status.TIMEOUT}
        assert sandbox.run("print(2)", timeout=10).stdout == "2\n"
        assert eventually(lambda: not is_alive(ours[0]))


def test_nothing_outlives_a_killed_ray_actor(ray_cluster):
    import ray

    @ray.remote(num_cpus=0)
    class Owner:
        """Runs an endless program in a sandbox."""

        def __init__(self) -> None:
            import threading

            self._sandbox = Sandbox(workers=1, preload=()).start()
            arguments = {"target": self._sandbox.run, "args": ("while True: pass",), "kwargs": {"timeout": 60}}
            threading.Thread(**arguments, daemon=True).start()  # type: ignore[arg-type]

        def pid(self) -> int:
            return os.getpid()

    owner = Owner.remote()  # type: ignore[attr-defined]
    pid = ray.get(owner.pid.remote())
    assert eventually(lambda: any(children(worker) for worker in worker_processes(pid)))
    family = worker_processes(pid)
    family += [program for worker in family for program in children(worker)]
    assert len(family) == 2
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(map(is_alive, family)))
