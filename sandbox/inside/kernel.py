"""System calls that the standard library does not offer."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_GET_NAME = 16
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x0400_0000, 0x0800_0000, 0x1000_0000
CLONE_NEWPID, CLONE_NEWNET = 0x2000_0000, 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV = 0x1, 0x2, 0x4
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x4_0000
SCRATCH_MOUNT_FLAGS = MS_NOSUID | MS_NODEV
"""Of the only mount that a zygote's filter lets through."""

CAP_SYS_ADMIN = 21

_CLOSE_RANGE = 436
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_MAX_ARGUMENTS = 6
# Declared once, so that integers can be passed as they are: whatever a child makes for a call costs it page faults.
_libc.syscall.argtypes = [ctypes.c_long] * (1 + _MAX_ARGUMENTS)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


class Buffer:
    """Bytes where the kernel can read them.

    Attributes:
        content: the bytes, for `struct.pack_into`.
        address: where they are.
    """

    def __init__(self, data: bytes) -> None:
        self.content = ctypes.create_string_buffer(data, len(data))
        self.address = ctypes.addressof(self.content)


def syscall(number: int, *arguments: int) -> int:
    """Makes a system call; pointers go as addresses.

    Raises:
        OSError: it returned -1.
    """
    result: int = _libc.syscall(number, *arguments, *(0,) * (_MAX_ARGUMENTS - len(arguments)))
    return result if result != -1 else _fail(f"system call {number}")


def call(function: str, *arguments: int | bytes | None) -> int:
    """Calls a function of the C library that reports errors by -1 and errno.

    Raises:
        OSError: it returned -1.
    """
    converted = [ctypes.c_ulong(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    result: int = getattr(_libc, function)(*converted)
    return result if result != -1 else _fail(function)


def prctl(option: int, argument: int) -> None:
    """Changes a property of this process.

    Raises:
        OSError: the kernel refuses.
    """
    if _libc.prctl(option, argument, 0, 0, 0) == -1:
        _fail("prctl")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Makes a mount, or changes one, as the flags say (man 2 mount).

    Raises:
        OSError: the kernel refuses.
    """
    source_bytes, kind_bytes, options_bytes = (
        None if text is None else os.fsencode(text) for text in (source, kind, options)
    )
    try:
        call("mount", source_bytes, os.fsencode(target), kind_bytes, flags, options_bytes)
    except OSError as error:
        error.filename = target
        raise


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when the thread that made it ends.

    Args:
        parent: the process that must still be the parent; if it is gone already, this process ends at once.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def close_from(first: int) -> None:
    """Closes every descriptor from `first` on."""
    syscall(_CLOSE_RANGE, first, 0xFFFF_FFFF, 0)


def keep_capabilities(*kept: int) -> None:
    """Gives up all of root's privileges but these, for good once `PR_SET_NO_NEW_PRIVS` is set.

    A no-op for a plain user, who has none.
    """
    mask = sum(1 << capability for capability in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; the lower 32 capabilities, then the others.
    sets = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
    call("capset", ctypes.addressof(header), ctypes.addressof(sets))


def _fail(name: str) -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, f"{name}: {os.strerror(code)}")
