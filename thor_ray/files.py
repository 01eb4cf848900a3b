"""Files that are whole or absent, whatever kills the writer."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from thor_ray.errors import DiskFullError

MEBIBYTE = 1 << 20


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, which takes its place once the block has ended without an error.

    A reader sees the old file or the new one, never a part of either. What a killed writer leaves behind is removed
    by ``remove_abandoned``.

    Raises:
        DiskFullError: the disk or the quota is exhausted.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming_full_disks(path):
            yield temporary
            _synchronise(temporary)
            temporary.replace(path)
            _synchronise(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Replaces the contents of ``path`` by ``text`` in one step.

    Raises:
        DiskFullError: the disk or the quota is exhausted.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def naming_full_disks(path: Path) -> Iterator[None]:
    """Turns "no space left on device" into an error that says where and what to do.

    Raises:
        DiskFullError: the disk or the quota is exhausted.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no space left on the disk of {path.parent} while writing {path.name}",
            "free some space there, then go on with --resume",
        ) from error


def require_free_space(path: Path, mebibytes: int) -> None:
    """Refuses to start work that the disk of ``path``, which need not exist yet, could not hold.

    Raises:
        DiskFullError: fewer than ``mebibytes`` MiB are free.
    """
    free = free_mebibytes(path)
    if free < mebibytes:
        raise DiskFullError(
            f"{path} needs {mebibytes} MiB of disk, its disk has {free} MiB left",
            f"free {mebibytes - free} MiB there, or choose another place",
        )


def free_mebibytes(path: Path) -> int:
    """MiB left for this user on the disk of ``path``, which need not exist yet."""
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free // MEBIBYTE


def remove_abandoned(directory: Path) -> None:
    """Removes the temporary files below ``directory`` whose writers are gone."""
    for temporary in directory.rglob(".*.tmp"):
        writer = temporary.name.split(".")[-2]
        if writer.isdecimal() and not psutil.pid_exists(int(writer)):
            temporary.unlink(missing_ok=True)


def drop_torn_line(path: Path) -> None:
    """Cuts off the line that a killed writer, or a full disk, left unfinished; nothing where there is no such file."""
    if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
