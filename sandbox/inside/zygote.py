"""The zygote: a single-threaded process with the libraries loaded that forks one child per program.

It receives descriptors and numbers, never a program or its output, because every child inherits its memory. It is exec'ed
with a clean environment, gives up all privileges, and dies with the supervisor's thread.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import resource
import select
import signal
import site
import socket
import sys
from typing import Any, NamedTuple, NoReturn, TypedDict

from sandbox import wire
from sandbox.inside import child, kernel, landlock, seccomp, warmup


class Settings(TypedDict):
    """The supervisor's orders for a zygote, as JSON in the only command-line argument."""

    owner: int
    control: int
    libraries: list[str]
    readable: list[str]
    preload: list[str]
    memory_bytes: int
    file_bytes: int
    open_files: int


class _Child(NamedTuple):
    number: int
    pid: int


def main() -> NoReturn:
    """Starts up, says hello, serves until the supervisor closes the socket."""
    settings: Settings = json.loads(sys.argv[1])
    kernel.die_with_parent(settings["owner"])
    control = socket.socket(fileno=settings["control"])
    child.prepare_standard_streams()
    sys.path[:] = [path for path in sys.path if path not in settings["libraries"]] + settings["libraries"]
    sys.argv[:] = [child.PROGRAM_NAME]
    _offer_interactive_builtins()
    try:
        _preload(settings["preload"])
    except Exception as error:
        control.send(wire.Hello(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()).pack())
        sys.exit(1)
    confinement, hello = _lock_down(settings)
    sys.path.insert(0, "")
    gc.collect()
    gc.freeze()
    control.send(wire.Hello(json.dumps(hello).encode()).pack())
    _serve(control, confinement)


def _offer_interactive_builtins() -> None:
    """`exit` and `quit` exist in a normal interpreter; they come from `site`, whose start-up files are skipped here."""
    site.setquit()
    site.setcopyright()
    site.sethelper()


def _preload(modules: list[str]) -> None:
    for name in warmup.STANDARD_LIBRARY:
        importlib.import_module(name)
    for name in modules:
        importlib.import_module(name)
        warmup.warm_up(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(
            f"a preloaded library started {threads - 1} threads, and a process with threads cannot fork safely"
        )


def _lock_down(settings: Settings) -> tuple[child.Confinement, dict[str, Any]]:
    """Takes from this process what no child may have, and prepares what each child does to itself."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    abi = landlock.abi_version()
    shortfalls = []
    if abi < landlock.MINIMUM_ABI:
        shortfalls.append(f"Landlock version {landlock.MINIMUM_ABI} is needed, the kernel offers {abi or 'none'}")
    if not seccomp.supported():
        shortfalls.append(f"no system-call filter is written for {kernel.MACHINE} processors")
    else:
        try:
            seccomp.install(seccomp.zygote_filter())
        except OSError as error:
            shortfalls.append(f"seccomp filters are refused: {error}")
    confined = not shortfalls
    confinement = child.Confinement(
        landlock_abi=abi if confined else 0,
        readable=landlock.open_directories(settings["readable"]) if confined else (),
        limits=_limits(settings),
    )
    hello = {
        "level": 2 if confined else 0,
        "landlock_abi": abi,
        "seccomp": seccomp.fingerprint() if confined else "",
        "user_id": os.getuid(),
        "shortfalls": shortfalls,
    }
    return confinement, hello


def _limits(settings: Settings) -> tuple[tuple[int, int, int], ...]:
    """Resource limits of a child: memory counts from what this process already occupies."""
    with open("/proc/self/statm") as file:
        pages = [int(field) for field in file.read().split()]
    address_space, data = pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()
    memory = settings["memory_bytes"]
    limits = {
        resource.RLIMIT_AS: address_space + memory,
        resource.RLIMIT_DATA: data + memory,
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NOFILE: settings["open_files"],
        resource.RLIMIT_CORE: 0,
    }
    return tuple((name, *2 * (_within_hard_limit(name, value),)) for name, value in limits.items())


def _within_hard_limit(name: int, value: int) -> int:
    """A limit that this machine already keeps lower stays as it is; raising it would need a privilege."""
    hard = resource.getrlimit(name)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _serve(control: socket.socket, confinement: child.Confinement) -> NoReturn:
    children: dict[int, _Child] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor != control.fileno():
                poll.unregister(descriptor)
                _reap(control, children.pop(descriptor), descriptor)
                continue
            packet, descriptors = wire.receive(control, wire.CHILD_DESCRIPTORS)
            if not packet:
                _end(children)
            pidfd, started = _fork(control, wire.Fork.unpack(packet).child, descriptors, confinement)
            if started is not None:
                children[pidfd] = started
                poll.register(pidfd, select.POLLIN)


def _fork(
    control: socket.socket, number: int, descriptors: list[int], confinement: child.Confinement
) -> tuple[int, _Child | None]:
    """Makes a child and tells the supervisor; (-1, None) if the kernel refuses one."""
    zygote = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        control.send(wire.Refused(number, error.errno or errno.EAGAIN).pack())
        pid = -1
    if pid == 0:
        child.run_child(child.Descriptors(*descriptors), confinement, zygote)
    for descriptor in descriptors:
        os.close(descriptor)
    if pid == -1:
        return -1, None
    pidfd = os.pidfd_open(pid)
    socket.send_fds(control, [wire.Started(number).pack()], [pidfd])
    return pidfd, _Child(number, pid)


def _reap(control: socket.socket, ended: _Child, pidfd: int) -> None:
    _, status, usage = os.wait4(ended.pid, 0)
    os.close(pidfd)
    times = round(usage.ru_utime * 1e6), round(usage.ru_stime * 1e6)
    control.send(wire.Ended(ended.number, status, *times, usage.ru_maxrss).pack())


def _end(children: dict[int, _Child]) -> NoReturn:
    """The supervisor is gone: so are the programs."""
    for running in children.values():
        os.kill(running.pid, signal.SIGKILL)
    for running in children.values():
        os.waitpid(running.pid, 0)
    os._exit(0)
