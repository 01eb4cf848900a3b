"""Looks at the processes of this machine."""

import time
from collections.abc import Callable
from pathlib import Path

import sandbox

PATIENCE_SECONDS = 20.0
"""Nothing waits so long on a machine in good health."""
_AT_WORK = "at-work"
AT_WORK = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{_AT_WORK}')\n"
"""Has a program tell `at_work` that it runs, by the name of its process: nothing else of it is seen before its end."""
SANDBOX = str(Path(sandbox.__file__).parent)
"""Stands in the command line of the sandbox's workers."""


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true soon, however loaded the machine is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def count_descriptors(but: tuple[str, ...] = ()) -> int:
    """This process's descriptors, but those whose kinds (`socket:`, `anon_inode:[eventfd]`) begin so."""
    kinds = [_kind(each) for each in Path("/proc/self/fd").iterdir()]
    return sum(not kind.startswith(but) for kind in kinds if kind)


def _kind(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""  # the one that the directory was read through


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue  # that thread has just ended
    return found


def worker_processes(pid: int) -> list[int]:
    """The sandbox's workers among a process's descendants; a cluster that it also runs is none of our business."""
    return [_worker(child) for child in children(pid) if SANDBOX in command_line(child).split("\0")]


def _worker(started: int) -> int:
    """What the sandbox starts may be a process that only waits for the worker, the first in a process namespace."""
    return next((child for child in children(started) if _is_first_in_a_namespace(child)), started)


def _is_first_in_a_namespace(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return len(numbers) > 1 and numbers[-1] == "1"


def programs(pid: int) -> list[int]:
    """What the sandbox's workers of a process have started."""
    return [program for worker in worker_processes(pid) for program in children(worker)]


def at_work(pid: int) -> list[int]:
    """Of the programs of a process, those that have executed `AT_WORK`: no child that is still to begin, and no escape probe."""
    return [program for program in programs(pid) if _name(program) == _AT_WORK]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""  # it has just ended


def command_line(pid: int) -> str:
    """Arguments separated by null characters; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether a process exists and is more than an entry that its parent has not read yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
