"""Runs of `thor` as processes that a test watches, stops, kills and cleans up after."""

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.commands import THOR

MARK = "THOR_TEST_MARK"
PATIENCE = 400.0
"""Seconds that a run may take to get anywhere on a busy machine; on a quiet one it needs a tenth."""


@dataclass
class Run:
    """A process of ``thor`` in a session of its own, as a terminal starts it, and everything that came of it."""

    arguments: list[str]
    place: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.seen: set[psutil.Process] = set()
        self.output, self.errors = self.place / "stdout.txt", self.place / "stderr.txt"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_"))}
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*THOR, *self.arguments],
                cwd=self.place,
                env={**inherited, **self.environment, MARK: self.mark, "COLUMNS": "120", "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    def finish(self, seconds: float = PATIENCE) -> int:
        """Waits for the end and returns the exit code."""
        return self.process.wait(timeout=seconds)

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Waits for something that only a living run can make happen."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.errors.read_text()}"
            assert time.monotonic() < deadline, f"nothing happened:\n{self.output.read_text()}"
            time.sleep(0.2)

    def look(self) -> set[psutil.Process]:
        """Finds its processes by descent and by the mark they inherited, and remembers them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        self.seen |= {each for each in psutil.process_iter() if mark_of(each) == self.mark}
        return self.seen

    def shows(self, *names: str) -> bool:
        """Whether each of the names occurs in the command line of one of its processes."""
        lines = [told(process, length=None) for process in self.look()]
        return all(any(name in line for line in lines) for name in names)

    def left_over(self, seconds: float) -> list[str]:
        """Command lines of what is still there after ``seconds`` at the most; Ray's own agents are seen off here.

        The two agents of a node outlive it by a minute, in which they try to report the loss.
        """
        deadline = time.monotonic() + seconds
        while True:
            left = {each for each in self.look() if is_alive(each)}
            agents = {each for each in left if is_agent(each)}
            if left == agents or time.monotonic() > deadline:
                self.end(agents)
                return [told(each) for each in left - agents]
            time.sleep(0.2)

    def end(self, processes: set[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def clean_up(self) -> None:
        """Kills whatever a failed test has left."""
        if self.process.poll() is None:
            self.look()
            self.process.kill()
            self.process.wait()
        self.end({each for each in self.look() if is_alive(each)})


def mark_of(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(MARK)
    return None


def is_alive(process: psutil.Process) -> bool:
    """Whether it has not ended; one whose parent does not wait for it has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def is_agent(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name().endswith("Agent")
    return False


def told(process: psutil.Process, length: int | None = 200) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return f"{process.pid} {process.name()}: {' '.join(process.cmdline())[:length]}"
    return f"{process.pid} (gone)"


def has_title(process: psutil.Process, *titles: str) -> bool:
    return any(title in told(process) for title in titles)
