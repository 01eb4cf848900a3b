"""Files that go into a program's directory before it starts, and come out of it after its end.

What comes out is hostile: a name may have become a link to somewhere else, a pipe that never ends, a device, a file of a
terabyte that holds nothing. So only regular files within the size limit are read, and no name is resolved through a link.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RESOLVE = _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH

_PAGE = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def check_name(name: str) -> None:
    """Sees that a file's name names something inside a program's directory.

    Raises:
        ValueError: it is empty, absolute, leads upwards, or cannot be a file's name.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or str(path) != name:
        raise ValueError(f"{name!r} cannot be a file's name here: it must be a plain relative path below the directory")


def check_compatible(names: Collection[str]) -> None:
    """Sees that no name is at once a file and the directory of another.

    Raises:
        ValueError: one is.
    """
    for name in names:
        for parent in PurePosixPath(name).parents:
            if str(parent) in names:
                raise ValueError(f"{str(parent)!r} is a file, so {name!r} cannot lie below it")


def space_of(files: Mapping[str, bytes]) -> tuple[int, int]:
    """What files take of a scratch file system: bytes, in whole pages, and the number of files and directories."""
    directories = {parent for name in files for parent in PurePosixPath(name).parents[:-1]}
    return sum(-(-len(content) // _PAGE) * _PAGE for content in files.values()), len(files) + len(directories)


def write_files(directory: int, files: Mapping[str, bytes]) -> None:
    """Writes files into an empty directory that no program has seen yet, with the directories that their names imply.

    Raises:
        OSError: no space.
    """
    for name, content in files.items():
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            try:
                os.mkdir(parent, mode=0o700, dir_fd=directory)
            except FileExistsError:
                continue
        with open(name, "wb", opener=lambda path, flags: os.open(path, flags, mode=0o600, dir_fd=directory)) as file:
            file.write(content)


def fetch_files(directory: int, names: Iterable[str], max_bytes: int) -> tuple[dict[str, bytes], dict[str, str]]:
    """Reads files out of a directory whose program is dead.

    Args:
        directory: descriptor of the directory.
        names: relative to it.
        max_bytes: of all files together.

    Returns:
        Contents of those that could be read, and for each of the others why not.
    """
    contents: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            contents[name] = _read(directory, name, max_bytes)
        except (OSError, ValueError) as error:
            refused[name] = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        else:
            max_bytes -= len(contents[name])
    return contents, refused


def _read(directory: int, name: str, max_bytes: int) -> bytes:
    descriptor = _open_beneath(directory, name)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > max_bytes:
            raise ValueError(f"larger than the {max_bytes} bytes that may still be fetched")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def _open_beneath(directory: int, name: str) -> int:
    """Opens for reading without following any link and without waiting for a pipe's other end."""
    how = struct.pack("<QQQ", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0, _RESOLVE)
    descriptor = int(
        _libc.syscall(
            ctypes.c_long(_OPENAT2), ctypes.c_long(directory), os.fsencode(name), how, ctypes.c_long(len(how))
        )
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor
