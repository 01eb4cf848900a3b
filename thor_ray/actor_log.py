"""Reading ``logs/actors.log``, the merged output of a run's actors, while it grows."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from thor_ray.run_directory import RunDirectory
from thor_ray.run_state import RunStatus
from thor_ray.segments import printable

POLL_SECONDS: Final = 0.5


def latest(run: RunDirectory, count: int, actor: str | None = None) -> tuple[list[str], int]:
    """The last ``count`` lines of an actor, or of all, and where in the file they end.

    Lines are safe to print: what would steer a terminal is made visible.
    """
    data = _read(_file(run), 0)
    kept = deque((line for line in _lines(data) if _of(line, actor)), maxlen=count)
    return [printable(line) for line in kept], len(data)


def followed(
    run: RunDirectory, position: int, actor: str | None = None, wait: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Lines from ``position`` on as they are written, until the run has ended and all is read.

    Args:
        run: Whose actors.
        position: A byte of the file, at the beginning of a line.
        actor: Whose lines; ``None`` is all of them.
        wait: Called between two looks.
    """
    while True:
        # Asked first, so that what the run writes at its end is read after it.
        ended = run.state().seen_status is not RunStatus.RUNNING
        data = _read(_file(run), position)
        position += len(data)
        yield from (printable(line) for line in _lines(data) if _of(line, actor))
        if ended:
            return
        wait(POLL_SECONDS)


def _file(run: RunDirectory) -> Path:
    return run.logs / "actors.log"


def _read(path: Path, position: int) -> bytes:
    """Whole lines from ``position`` on; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "backslashreplace").splitlines()


def _of(line: str, actor: str | None) -> bool:
    """Whether ``actor`` is the name, the process, or the beginning of both before the line's ``|``."""
    tag = line.partition(" | ")[0]
    return actor is None or tag.startswith(actor) or tag.rpartition(" ")[2] == actor
