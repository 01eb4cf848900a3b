"""Landlock: a process takes away its own access to files, TCP and other processes' signals.

Everything is denied but reading the given directories and using the scratch directory. Landlock does not cover stat,
chmod, chown, utime and extended attributes; the system-call filter denies the last four.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from sandbox.inside.kernel import Buffer, syscall

MINIMUM_ABI = 3
"""Before version 3 truncation of a file is not covered."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULE = struct.Struct("<Qi")
"""struct landlock_path_beneath_attr: the access allowed, the directory's descriptor."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = (1 << bit for bit in range(13, 16))

_READ = _READ_FILE | _READ_DIR
_USE = _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER
_ALL_NETWORK = 0b11
_ALL_SCOPES = 0b11


def abi_version() -> int:
    """Landlock's version in this kernel; 0 if the kernel lacks it, has it off, or a filter hides it."""
    try:
        return syscall(_CREATE_RULESET, 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def open_directories(paths: Iterable[str]) -> tuple[int, ...]:
    """Opens the directories that exist, for `Rules`."""
    return tuple(os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths if os.path.isdir(path))


class Rules:
    """What a process may still do with files. Made once, for any number of processes to confine themselves by.

    Args:
        abi: what `abi_version` returned, at least `MINIMUM_ABI`.
        readable: descriptors of directories whose files may be read; they stay open.
    """

    def __init__(self, abi: int, readable: Iterable[int]) -> None:
        files = (_EXECUTE | _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE) | (_MAKE_SYM * 2 - _MAKE_CHAR)
        files |= _REFER | _TRUNCATE | (_IOCTL_DEV if abi >= 5 else 0)
        self._denied = Buffer(struct.pack("<QQQ", files, _ALL_NETWORK, _ALL_SCOPES))
        self._denied_bytes = 24 if abi >= 6 else 16 if abi >= 4 else 8
        self._readable = [Buffer(_RULE.pack(_READ, directory)) for directory in readable]
        self._scratch = Buffer(bytes(_RULE.size))

    def confine(self, scratch: int) -> None:
        """Locks this process down, for good; needs `PR_SET_NO_NEW_PRIVS`.

        Args:
            scratch: descriptor of the directory that may be used in full.

        Raises:
            OSError: the kernel refuses.
        """
        _RULE.pack_into(self._scratch.content, 0, _USE, scratch)
        ruleset = syscall(_CREATE_RULESET, self._denied.address, self._denied_bytes, 0)
        for rule in (*self._readable, self._scratch):
            syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule.address, 0)
        syscall(_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
