"""A program that tries to get out. It runs like every other program; the level is granted only if every attempt fails.

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


def main(canary: str, port: int, supervisor: int) -> None:
    """Prints which attempts got through, as JSON.

    Args:
        canary: a file of this user outside the scratch directory.
        port: where somebody listens on the loopback address.
        supervisor: a process of this user.
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
        "trace a process (ptrace)": lambda: _raw(101, 16, supervisor, 0, 0),
        "use io_uring": lambda: _raw(425, 1, 0),
        "enter a user namespace": lambda: _raw(272, 0x10000000),
        "raise a resource limit": _raise_limit,
    }
    through = []
    for name, probe in probes.items():
        try:
            probe()
        except OSError:
            continue
        except ValueError:
            continue  # what setrlimit raises when the kernel refuses
        through.append(name)
    sys.stdout.write(json.dumps({"tried": len(probes), "through": through}))
