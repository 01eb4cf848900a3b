"""Scratch directories: every execution gets an empty one of its own, and what it leaves there is removed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
_PREFIX = "sandbox-scratch-"
_MODE = 0o700
_REMOVAL_ATTEMPTS = 20


@dataclass(slots=True)
class Scratch:
    """A child's own directory.

    Attributes:
        descriptor: the directory, open; -1 until a child that mounts its own has sent it.
        name: in the `ScratchSpace`; None for a file system of the child's own, which ends with it.
    """

    descriptor: int = -1
    name: str | None = None

    @property
    def is_open(self) -> bool:
        return self.descriptor >= 0

    def descriptors(self) -> tuple[int, ...]:
        """What the child has to be given: nothing, if it mounts its own."""
        return (self.descriptor,) if self.is_open else ()


class ScratchSpace:
    """The directory that holds a sandbox's scratch directories.

    It is locked while its owner lives, so that the next sandbox can tell what a killed owner left behind and remove it. A
    directory that a program left empty, as nearly all do, serves the next one: making and removing one can cost a
    millisecond on a busy disk. The methods are for one thread.
    """

    def __init__(self) -> None:
        _remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._descriptor = _open_directory(self.path)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._made = 0
        self._free: list[str] = []
        self._janitors: list[threading.Thread] = []

    def acquire(self) -> Scratch:
        """An empty directory; give it back with `release` or `discard`.

        Raises:
            OSError: no space, or no descriptors.
        """
        if self._free:
            name = self._free.pop()
        else:
            self._made += 1
            name = str(self._made)
            os.mkdir(name, mode=_MODE, dir_fd=self._descriptor)
        return Scratch(_open_directory(name, self._descriptor), name)

    def release(self, scratch: Scratch) -> None:
        """Takes a directory back that no process uses any more."""
        if scratch.name is not None and _is_pristine(scratch.descriptor):
            self._free.append(scratch.name)
            os.close(scratch.descriptor)
        else:
            self.discard(scratch)

    def discard(self, scratch: Scratch) -> None:
        """Removes a directory, in a thread: a program that left thousands of files, or that is still dying, delays nobody."""
        if scratch.is_open:
            os.close(scratch.descriptor)
        if scratch.name is None:
            return  # the kernel removes it
        self._janitors = [thread for thread in self._janitors if thread.is_alive()]
        janitor = threading.Thread(
            target=_remove_for_sure, args=(scratch.name, self._descriptor), name="sandbox-janitor"
        )
        self._janitors.append(janitor)
        janitor.start()

    def close(self) -> None:
        """Removes everything; waits for that."""
        for janitor in self._janitors:
            janitor.join()
        _remove_for_sure(str(self.path))
        os.close(self._descriptor)


def _is_pristine(directory: int) -> bool:
    status = os.fstat(directory)
    return status.st_nlink > 0 and stat.S_IMODE(status.st_mode) == _MODE and not _names(directory)


def _remove_for_sure(name: str, parent: int | None = None) -> None:
    """Removes a tree in which a killed process may still be writing its last."""
    for attempt in range(_REMOVAL_ATTEMPTS):
        try:
            _remove_tree(name, parent)
        except OSError as error:
            if attempt == _REMOVAL_ATTEMPTS - 1:
                _log.warning("sandbox: the scratch directory %s could not be removed: %s", name, error)
            time.sleep(0.05)
        else:
            return


def _remove_abandoned() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            descriptor = _open_directory(path)
        except OSError:
            continue  # another user's, or gone meanwhile
        try:
            # An owner between making and locking its directory has just made it.
            if os.fstat(descriptor).st_uid == os.getuid() and _age_seconds(descriptor) > 60:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_for_sure(str(path))
        except BlockingIOError:
            continue  # its owner lives
        finally:
            os.close(descriptor)


def _age_seconds(descriptor: int) -> float:
    return time.time() - os.fstat(descriptor).st_mtime


def _open_directory(path: str | Path, parent: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _remove_tree(name: str, parent: int | None = None) -> None:
    """Removes a tree of any depth with two descriptors, neither recursion nor long paths.

    Never follows a link, never leaves the tree (a directory that was moved meanwhile is left where it is), and gives itself
    the permissions that the tree's maker took away.
    """
    with contextlib.suppress(FileNotFoundError):
        os.chmod(name, _MODE, dir_fd=parent)
        here = _open_directory(name, parent)
        try:
            here = _empty(here)
        finally:
            os.close(here)
        os.rmdir(name, dir_fd=parent)


def _empty(here: int) -> int:
    """Removes all that a directory holds; takes its descriptor and returns another one of it."""
    below: list[
        tuple[str, tuple[int, int]]
    ] = []  # the directories entered, with the identity of what each was entered from
    while True:
        inner = _remove_files(here)
        if inner is not None:
            os.chmod(inner, _MODE, dir_fd=here)
            below.append((inner, _identity(here)))
            next_one = _open_directory(inner, here)
        elif below:
            next_one = _open_directory("..", here)
        else:
            return here
        os.close(here)
        here = next_one
        if inner is None:
            done, origin = below.pop()
            if _identity(here) != origin:
                raise OSError(f"the directory {done!r} was moved while its tree was removed")
            os.rmdir(done, dir_fd=here)


def _remove_files(directory: int) -> str | None:
    """Removes what is no directory; returns a directory that is left, if there is one."""
    inner = None
    for name in _names(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            inner = name
        else:
            os.unlink(name, dir_fd=directory)
    return inner


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]
