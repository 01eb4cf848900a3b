"""Sees what programs leave behind in this process, in the sandbox's workers, and in the temporary directory."""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.integration.sandbox.processes import eventually

_LIMITS = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
_UNSEEN = "unseen"
_SETTLE_SECONDS = 0.3
"""After this whatever a sandbox prepares in advance is ready."""


class Process(NamedTuple):
    """One line of the machine's process table."""

    pid: int
    parent: int
    session: int
    command_line: str


def processes() -> dict[int, Process]:
    """All processes that can be seen, by process id."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - a hundred times a second
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat, open(f"/proc/{name}/cmdline") as command_line:  # noqa: PTH123
                    fields = stat.read().rpartition(")")[2].split()
                    found[int(name)] = Process(int(name), int(fields[1]), int(fields[3]), command_line.read())
            except OSError:
                continue  # it has just ended
    return found


class Watch:
    """Compares this process and its sandbox with what they were when the watch began, with nothing running.

    Processes are found in three ways, so that none that a program starts can hide: by descent, by their session, which
    begins with the worker, and by a mark in the worker's command line, which every fork inherits.

    Args:
        mark: text in the command line of every worker.

    Raises:
        RuntimeError: no worker has the mark, or its state cannot be read.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        time.sleep(_SETTLE_SECONDS)
        self._counts: dict[str, Callable[[], int]] = {
            "processes": lambda: len(self.relatives()),
            "descriptors": lambda: len(os.listdir("/proc/self/fd")),  # noqa: PTH208
            "threads": threading.active_count,
            "scratch files": lambda: sum(1 for _ in _scratch_files()),
        }
        self._workers = self._find_workers()
        if not self._workers or any(_UNSEEN in state for state in self._workers.values()):
            raise RuntimeError(f"cannot watch the processes with {mark!r} in their command lines: {self._workers}")
        self._before = {name: count() for name, count in self._counts.items()}

    def growth(self) -> list[str]:
        """What is more than it was, after a patient wait, and what has become of the workers; in words."""
        grown = [
            f"{name}: {self._before[name]} before, {count()} now"
            for name, count in self._counts.items()
            if not eventually(lambda: count() <= self._before[name])  # noqa: B023 - called within its round
        ]
        for pid, before in self._workers.items():
            if not eventually(lambda: _state(pid) == before):  # noqa: B023
                grown.append(f"worker {pid}: {before} before, {_state(pid)} now")
                self._workers = self._find_workers()
                break
        return grown

    def relatives(self) -> list[Process]:
        """Every process that the sandbox has started, directly or not, and that is still there."""
        table = processes()
        family = {os.getpid()}
        while more := {each.pid for each in table.values() if each.parent in family} - family:
            family |= more
        return [
            each
            for each in table.values()
            if each.pid != os.getpid()
            and (each.pid in family or each.session in self._workers or self._mark in each.command_line)
        ]

    def _find_workers(self) -> dict[int, dict[str, object]]:
        """What the sandbox consists of while no program runs, with the state of each process."""
        return {each.pid: _state(each.pid) for each in processes().values() if self._mark in each.command_line}


def _scratch_files() -> Iterator[str]:
    """What programs left in the temporary directory; empty directories may serve the next program."""
    for directory, _, names in os.walk(tempfile.gettempdir()):
        if "sandbox-scratch-" in directory:
            yield from names


def _state(pid: int) -> dict[str, object]:
    """What a hostile child could change of its worker."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return {
            "stopped": status in "TtZX",
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208
            "priority": os.getpriority(os.PRIO_PROCESS, pid),
            "limits": {name: resource.prlimit(pid, number) for name, number in _LIMITS.items()},
        }
    except OSError as error:
        return {_UNSEEN: str(error)}
