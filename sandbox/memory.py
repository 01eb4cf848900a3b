"""Admission by memory: how much all sandboxes of a machine may promise to programs at a time.

A limit bounds one program; a hundred programs within their limits can still take a machine down. So each running program
holds a share of a budget that all sandboxes of this user on this machine draw from, in whatever process they live. The
shares are locks on ranges of a file, one byte for each MiB: the kernel gives back what a killed process held, and there is
no server to ask and none to restart.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import tempfile
from pathlib import Path

from sandbox.limits import MIB

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""


def default_budget() -> int:
    """Half of the memory that this process may ever use: of the machine's, or of its container's if that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):
            continue  # another version of cgroups, or "max"
    return total // 2


class MemoryBudget:
    """Shares of memory, drawn and given back. For one thread.

    Args:
        total_bytes: what all holders of shares on this machine may hold together.
        path: the file of locks; None takes the one that all sandboxes of this user share.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, total_bytes: int, path: Path | None = None) -> None:
        self._units = total_bytes // MIB
        self._path = path or _shared_path()
        os.close(self._open())

    def reserve(self, size: int, part: float = 1.0) -> int | None:
        """Draws a share of `size` bytes, if there is room now; closing the descriptor that is returned gives it back.

        Args:
            size: bytes.
            part: the share must lie in this part of the budget, counted from one end; the rest is out of its reach.

        Raises:
            OSError: out of descriptors.
        """
        units = -(-size // MIB)
        descriptor = self._open()
        start = 0
        while start + units <= int(part * self._units):
            taken_until = _lock(descriptor, start, units)
            if taken_until is None:
                return descriptor
            start = taken_until
        os.close(descriptor)
        return None

    def _open(self) -> int:
        # Never through a link, and never another user's file: in a shared directory anybody can make one of this name.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.fstat(descriptor).st_uid != os.getuid():
            os.close(descriptor)
            raise PermissionError(errno.EPERM, "belongs to another user; remove it", str(self._path))
        return descriptor


def _shared_path() -> Path:
    """The file that all sandboxes of this user share. Users of different user namespaces may have the same number."""
    try:
        namespace = f"-{Path('/proc/self/ns/user').stat().st_ino}"
    except OSError:
        namespace = ""  # no /proc: whoever shares the directory for temporary files is taken for one of us
    return Path(tempfile.gettempdir()) / f"sandbox-memory-{os.getuid()}{namespace}"


def _lock(descriptor: int, start: int, units: int) -> int | None:
    """Locks a range; if a part of it is taken, returns where that part ends."""
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, units, 0)
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            kind, _, first, length, _ = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted))
            if kind != fcntl.F_UNLCK:
                return int(first + length)
        else:
            return None
