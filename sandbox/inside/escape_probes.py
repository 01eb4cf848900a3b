"""A program that tries to get out. It runs like every other program; a level is granted only if every attempt fails.

Sent as source text, followed by a call of `main`. Each probe returns normally if it got through.
"""

import ctypes
import json
import os
import resource
import socket
import sys
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)

FILTERED, CONFINED, NAMESPACED = 1, 2, 3
_PTRACE, _UNSHARE = {"x86_64": (101, 272), "aarch64": (117, 97)}.get(os.uname().machine, (-1, -1))
_IO_URING_SETUP = 425
_CLONE_NEWUSER = 0x10000000
_PTRACE_SEIZE = 0x4206
"""Unlike PTRACE_ATTACH it does not stop the process, should it succeed."""


def _raw(number: int, *arguments: int) -> None:
    if _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)) == -1:
        raise OSError(ctypes.get_errno(), "refused")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _raise_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", port))


def _overwrite(path: str) -> None:
    with open(path, "a") as file:
        file.write("overwritten")


def _exceed(scratch: tuple[int, int]) -> None:
    """Returns if the directory's file system would take more than it should."""
    max_bytes, max_files = scratch
    space = os.statvfs(".")
    if 0 < space.f_blocks * space.f_frsize < max_bytes + space.f_frsize and 0 < space.f_files <= max_files + 1:
        raise OSError("it is bounded")


def _meet_others() -> None:
    """Returns if processes outside have numbers here."""
    if os.getppid() == 1:
        raise OSError("this process's parent is the first process here")


def main(level: int, canary: str, port: int, supervisor: int, scratch: tuple[int, int]) -> None:
    """Prints which attempts failed (`held`) and which got through, by name, as JSON.

    Args:
        level: which level's promises to try; 1 to 3.
        canary: a file of this user outside the scratch directory.
        port: where somebody listens on the loopback address.
        supervisor: a process of this user.
        scratch: bytes and files that this program may leave in its directory, from level 3 on.
    """
    probes: dict[str, Callable[[], object]] = {
        "read a file of this user": lambda: open(canary).close(),
        "overwrite a file of this user": lambda: _overwrite(canary),
        "list a directory": lambda: os.listdir(os.path.dirname(canary)),
        "change a file's mode": lambda: os.chmod(canary, 0o644),
        "read another process's environment": lambda: open(f"/proc/{supervisor}/environ").close(),
        "connect by TCP": lambda: _connect(port),
        "open a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "fork": _fork,
        "execute a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "signal the supervisor": lambda: os.kill(supervisor, 0),
        "trace a process (ptrace)": lambda: _raw(_PTRACE, _PTRACE_SEIZE, supervisor, 0, 0),
        "use io_uring": lambda: _raw(_IO_URING_SETUP, 1, 0),
        "enter a user namespace": lambda: _raw(_UNSHARE, _CLONE_NEWUSER),
        "raise a resource limit": _raise_limit,
        "open a library for writing": lambda: open(json.__file__, "r+").close(),
    }
    if level == FILTERED:
        probes |= {
            "read a library": lambda: open(json.__file__).close(),
            "create a file": lambda: open("new", "w").close(),
        }
    if level == NAMESPACED:
        probes |= {
            "learn that a file of this user exists": lambda: os.stat(canary),
            "learn that a file of the system exists": lambda: os.stat("/etc/passwd"),
            "create a file in the root directory": lambda: open("/new", "w").close(),
            "fill this machine's disk or memory with files": lambda: _exceed(scratch),
            "meet other processes": _meet_others,
        }
    outcomes: dict[str, list[str]] = {"held": [], "through": []}
    for name, probe in probes.items():
        try:
            probe()
        except (OSError, ValueError):  # ValueError is what setrlimit raises when the kernel refuses
            outcomes["held"].append(name)
        else:
            outcomes["through"].append(name)
    sys.stdout.write(json.dumps(outcomes))
