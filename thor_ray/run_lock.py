"""One writer per run directory."""

import contextlib
import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path

from thor_ray.errors import RunLockedError
from thor_ray.run_state import Owner


class RunLock:
    """An exclusive lock on a run directory, held until ``release`` or the end of this process.

    The kernel holds it (``flock``), so that the lock of a killed process is free at once and can't be stale. The file
    says who holds it. Forked children give up their copy, since the lock would otherwise live as long as they do.

    Raises:
        RunLockedError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 4096, 0).decode(errors="replace")
            os.close(self._descriptor)
            raise RunLockedError(
                f"{path.parent} is being written by another process ({_describe(holder)})",
                "wait for it, end it, or choose another place with --name or --run-dir",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(asdict(Owner.current())).encode(), 0)
        os.register_at_fork(after_in_child=self.release)

    def release(self) -> None:
        """Gives the lock up; does nothing the second time."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def _describe(holder: str) -> str:
    try:
        owner = Owner(**json.loads(holder))
    except (ValueError, TypeError):
        return "which has not said who it is"
    place = f"pid {owner.pid} on {owner.host}"
    return f"a child of {place}, which itself has ended" if owner.gone else place
