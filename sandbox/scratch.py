"""Scratch directories: one fresh, empty one per execution, gone afterwards whatever the program left in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import tempfile
import threading
import time
from pathlib import Path

_PREFIX = "sandbox-scratch-"


class ScratchSpace:
    """The directory that holds a sandbox's scratch directories.

    It is locked while its owner lives, so that the next sandbox can tell what a killed owner left behind and remove it.
    """

    def __init__(self) -> None:
        _remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._descriptor = _open_directory(self.path)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._janitors: list[threading.Thread] = []

    def make(self, name: str) -> int:
        """Makes a directory and returns a descriptor of it, which the caller closes."""
        os.mkdir(name, mode=0o700, dir_fd=self._descriptor)
        return _open_directory(name, self._descriptor)

    def remove(self, name: str) -> None:
        """Removes a directory. A program that left thousands of files keeps no caller waiting: a thread clears them."""
        try:
            os.rmdir(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return
        except OSError:
            self._janitors = [thread for thread in self._janitors if thread.is_alive()]
            janitor = threading.Thread(target=_remove_tree, args=(name, self._descriptor), name="sandbox-janitor")
            self._janitors.append(janitor)
            janitor.start()

    def close(self) -> None:
        """Removes everything."""
        for janitor in self._janitors:
            janitor.join()
        _remove_tree(str(self.path))
        os.close(self._descriptor)


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
                _remove_tree(str(path))
        except BlockingIOError:
            continue  # its owner lives
        finally:
            os.close(descriptor)


def _age_seconds(descriptor: int) -> float:
    return time.time() - os.fstat(descriptor).st_mtime


def _open_directory(path: str | Path, parent: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _remove_tree(name: str, parent: int | None = None) -> None:
    """Removes a tree of any depth: nested directories are first moved up, so that neither the stack nor a path grows.

    Never follows a link, and gives itself the permissions that the tree's maker took away.
    """
    with contextlib.suppress(FileNotFoundError):
        os.chmod(name, 0o700, dir_fd=parent)
        root = _open_directory(name, parent)
        try:
            while entries := _names(root):
                for entry in entries:
                    _remove_entry(root, entry)
        finally:
            os.close(root)
        os.rmdir(name, dir_fd=parent)


def _remove_entry(root: int, entry: str) -> None:
    """Removes a file or a directory of `root`; the directory's own directories become entries of `root`."""
    if not _is_directory(entry, root):
        os.unlink(entry, dir_fd=root)
        return
    os.chmod(entry, 0o700, dir_fd=root)
    directory = _open_directory(entry, root)
    try:
        for inner in _names(directory):
            if _is_directory(inner, directory):
                os.chmod(inner, 0o700, dir_fd=directory)
                os.rename(inner, secrets.token_hex(16), src_dir_fd=directory, dst_dir_fd=root)
            else:
                os.unlink(inner, dir_fd=directory)
    finally:
        os.close(directory)
    os.rmdir(entry, dir_fd=root)


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def _is_directory(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
