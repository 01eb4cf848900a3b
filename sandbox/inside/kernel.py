"""System calls that the standard library does not offer."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_GET_NAME = 16
PR_SET_NO_NEW_PRIVS = 38

_CLOSE_RANGE = 436
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
MACHINE = os.uname().machine


def syscall(number: int, *arguments: int) -> int:
    """Makes a system call; pointers go as addresses.

    Raises:
        OSError: it returned -1.
    """
    result = int(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def prctl(option: int, argument: int) -> None:
    """Changes a property of this process.

    Raises:
        OSError: the kernel refuses.
    """
    if _libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(value) for value in (argument, 0, 0, 0))) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


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


def drop_capabilities() -> None:
    """Gives up all of root's privileges, for good once `PR_SET_NO_NEW_PRIVS` is set. A no-op for a plain user."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    syscall(_CAPSET[MACHINE], ctypes.addressof(header), ctypes.addressof(nothing))
