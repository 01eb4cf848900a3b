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
from sandbox.inside import child, heap, kernel, landlock, namespaces, seccomp, warmup
from sandbox.inside.seccomp import Boundary
from sandbox.inside.syscalls import HERE, MACHINE


class Settings(TypedDict):
    """The supervisor's orders for a zygote, as JSON in the only command-line argument."""

    level: int
    owner: int
    control: int
    libraries: list[str]
    readable: list[str]
    preload: list[str]
    memory_bytes: int
    file_bytes: int
    open_files: int
    scratch_bytes: int
    scratch_files: int


class LevelUnavailable(Exception):
    """The isolation level that is asked for cannot be built here; the message says why."""


class _Child(NamedTuple):
    number: int
    pid: int


def main() -> NoReturn:
    """Starts up, says hello, serves until the supervisor closes the socket."""
    settings: Settings = json.loads(sys.argv[1])
    kernel.die_with_parent(settings["owner"])
    control = socket.socket(fileno=settings["control"])
    _hear_all_signals()
    if settings["level"] == Boundary.ROOT:
        try:
            namespaces.enter()
        except OSError as error:
            _give_up(control, "unavailable", f"no namespaces: {error}")
    child.prepare_standard_streams()
    sys.path[:] = [path for path in sys.path if path not in settings["libraries"]] + settings["libraries"]
    sys.argv[:] = [child.PROGRAM_NAME]
    _offer_interactive_builtins()
    try:
        _preload(settings["preload"])
    except Exception as error:
        _give_up(control, "error", f"{type(error).__name__}: {error}")
    heap.settle()
    try:
        confinement, hello = _lock_down(settings)
    except LevelUnavailable as error:
        _give_up(control, "unavailable", str(error))
    sys.path.insert(0, "")
    gc.freeze()
    _say_hello(control, hello)
    _serve(control, confinement)


def _say_hello(control: socket.socket, fields: dict[str, Any]) -> None:
    pidfd = os.pidfd_open(os.getpid())
    socket.send_fds(control, [wire.Hello(json.dumps(fields).encode()).pack()], [pidfd])
    os.close(pidfd)


def _give_up(control: socket.socket, what: str, why: str) -> NoReturn:
    _say_hello(control, {what: why})
    sys.exit(1)


def _hear_all_signals() -> None:
    """Undoes what the caller ignores or blocks, which an exec'ed process inherits: a shell's background jobs ignore Ctrl-C."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # which the interpreter itself ignores
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


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
    """Takes from this process what no child may have, and prepares what each child does to itself.

    Raises:
        LevelUnavailable: this machine lacks something for the level.
    """
    boundary = Boundary(settings["level"])
    limits = _limits(settings)
    abi, shortfall = _usable_landlock(boundary)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    scratch = None
    shown = namespaces.view(settings["readable"])
    if boundary is Boundary.ROOT:
        directory = _change_root(shown)
        scratch = child.Scratch(directory, settings["scratch_bytes"], settings["scratch_files"])
        kernel.keep_capabilities(kernel.CAP_SYS_ADMIN)  # in this process's own namespaces, for the scratch file systems
    else:
        kernel.keep_capabilities()
    rules = landlock.Rules(abi, landlock.open_directories(shown.directories)) if abi else None
    childs_filter, fingerprint = _install_filter(boundary)
    hello = {
        "level": int(boundary),
        "landlock_abi": abi,
        "seccomp": fingerprint,
        "user_id": os.getuid(),
        "shortfalls": shortfall,
        "namespaces": boundary is Boundary.ROOT,
    }
    return child.Confinement(limits, scratch, rules, childs_filter), hello


def _usable_landlock(boundary: Boundary) -> tuple[int, list[str]]:
    """Landlock's version, 0 if it is not used, and what programs go without for that.

    Raises:
        LevelUnavailable: the level is made of nothing else.
    """
    if boundary < Boundary.LANDLOCK:
        return 0, ["programs have no files"] if boundary is Boundary.FILTER else []
    abi = landlock.abi_version()
    if abi >= landlock.MINIMUM_ABI:
        return abi, []
    shortfall = f"Landlock version {landlock.MINIMUM_ABI} is needed, the kernel offers {abi or 'none'}"
    if boundary is Boundary.LANDLOCK:
        raise LevelUnavailable(shortfall)
    return 0, [f"without Landlock: {shortfall}"]


def _change_root(shown: namespaces.View) -> str:
    """Leaves nothing else in the file tree; returns where a scratch file system can be mounted."""
    directory = namespaces.free_name(shown)
    try:
        namespaces.change_root(shown, directory)
    except OSError as error:
        raise LevelUnavailable(f"no root directory of our own: {error}") from error
    return directory


def _install_filter(boundary: Boundary) -> tuple[seccomp.ChildFilter | None, str]:
    """Puts the zygote's filter on this process; returns the children's, and the fingerprint of both."""
    if boundary is Boundary.NOTHING:
        return None, ""
    if HERE is None:
        raise LevelUnavailable(f"no system-call filter is written for {MACHINE} processors")
    try:
        seccomp.install(seccomp.zygote_filter(boundary, HERE))
    except OSError as error:
        raise LevelUnavailable(f"seccomp filters are refused: {error}") from error
    return seccomp.ChildFilter(boundary, HERE), seccomp.fingerprint(boundary, HERE)


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
        pid = heap.fork()
    except OSError as error:
        control.send(wire.Refused(number, error.errno or errno.EAGAIN).pack())
        pid = -1
    if pid == 0:

        def show_scratch(directory: int) -> None:
            socket.send_fds(control, [wire.Scratch(number).pack()], [directory])

        child.run_child(child.Descriptors(*descriptors), confinement, zygote, show_scratch)
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
