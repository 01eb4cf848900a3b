"""The life of a child: take the descriptors, lock down, wait for orders, run each program, report, end.

Everything here runs in a process of its own, forked from the zygote. Most children get a single order; a session's child
gets many, and its programs share one namespace. From the first program's first statement on nothing in this process is
trusted: the program may replace any function or object that it can reach. So what must happen afterwards uses local
variables bound before, and the worst that a sabotaged ending can do is to lose the child's own report.
"""

from __future__ import annotations

import builtins
import io
import json
import linecache
import math
import os
import resource
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from sandbox.inside import kernel, landlock, namespaces, seccomp
from sandbox.inside.interrupts import Interrupts
from sandbox.wire import ORDER_BYTES, REPORT_READY, Order

PROGRAM_NAME, STEP_NAME = "<program>", "<step {}>"
_OWN_NAMES = (PROGRAM_NAME, "<step ")
REPORT_DESCRIPTOR, ORDERS_DESCRIPTOR, PROGRAM_DESCRIPTOR = 3, 4, 5
_LAST_DESCRIPTOR = PROGRAM_DESCRIPTOR

# A report must fit into a pipe even when every character becomes a six-byte JSON escape.
_MAX_MESSAGE = 1_500
_MAX_TRACEBACK = 6_000
_MAX_FRAMES = 2_000
"""Twice what the usual recursion limit allows; a program that raised the limit may have left a million."""

_OK_REPORT = (
    b'{"status": "ok", "exc_type": null, "exc_message": null, "traceback": "", "step": %d, "exit_code": 0, '
    b'"user_us": %d, "system_us": %d, "max_rss_kb": %d}\n'
)
"""How most programs end. Without the JSON encoder, whose pages each child would have to copy."""


class Descriptors(NamedTuple):
    """What a request for a child carries, in the order of `wire.CHILD_DESCRIPTORS`; -1 for what it does not."""

    program: int
    orders: int
    stdout: int
    stderr: int
    report: int
    scratch: int = -1


class Scratch(NamedTuple):
    """The file system that a child mounts for itself: an empty directory, and the bounds on what it may hold."""

    directory: str
    max_bytes: int
    max_files: int


class Confinement(NamedTuple):
    """What a child does to itself.

    Attributes:
        limits: (resource, soft, hard) triples.
        scratch: what it mounts; None if it is given a directory.
        rules: for its files; None if Landlock takes no part.
        filter: for its system calls; None if there is none.
    """

    limits: tuple[tuple[int, int, int], ...]
    scratch: Scratch | None
    rules: landlock.Rules | None
    filter: seccomp.ChildFilter | None


def run_child(
    descriptors: Descriptors, confinement: Confinement, zygote: int, show_scratch: Callable[[int], None]
) -> NoReturn:
    """Follows orders until the last one or until nobody is left to give any; never returns into the zygote's code.

    Args:
        descriptors: what the supervisor sent.
        confinement: what to do to this process.
        zygote: its process id.
        show_scratch: tells the supervisor of a scratch directory that the child has mounted.
    """
    leave = os._exit
    code = 1
    try:
        try:
            _lock_down(descriptors, confinement, zygote, show_scratch)
        except BaseException as error:
            os.write(descriptors.report, f"{type(error).__name__}: {error}"[:_MAX_MESSAGE].encode())
            raise
        code = _follow_orders()
    finally:
        try:
            leave(code)
        finally:
            leave(1)  # a tracer of the program's may have stopped the first


def _lock_down(
    descriptors: Descriptors, confinement: Confinement, zygote: int, show_scratch: Callable[[int], None]
) -> None:
    """Takes the descriptors and gives up all that a program must not have."""
    kernel.die_with_parent(zygote)
    os.dup2(descriptors.stdout, 1)
    os.dup2(descriptors.stderr, 2)
    os.dup2(descriptors.report, REPORT_DESCRIPTOR, inheritable=False)
    os.dup2(descriptors.orders, ORDERS_DESCRIPTOR, inheritable=False)
    os.dup2(descriptors.program, PROGRAM_DESCRIPTOR, inheritable=False)
    if confinement.scratch is None:
        scratch = descriptors.scratch
        os.fchdir(scratch)
    else:
        # Before Landlock, which lets nobody mount.
        scratch = namespaces.mount_scratch(*confinement.scratch)
        show_scratch(scratch)
        kernel.keep_capabilities()
    for name, soft, hard in confinement.limits:
        resource.setrlimit(name, (soft, hard))
    if confinement.rules is not None:
        confinement.rules.confine(scratch)
    kernel.close_from(_LAST_DESCRIPTOR + 1)
    if confinement.filter is not None:
        confinement.filter.install(os.getpid())
    os.write(REPORT_DESCRIPTOR, REPORT_READY)


def _follow_orders() -> int:
    """Runs what is ordered, one program after the other in one namespace; returns the last one's exit code."""
    read, pread, unpack = os.read, os.pread, Order.unpack
    write_report = _report_writer()
    interrupts: Interrupts | None = None
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    code = 0
    while packet := read(ORDERS_DESCRIPTOR, ORDER_BYTES):
        order = unpack(packet)
        source = pread(PROGRAM_DESCRIPTOR, order.program_bytes, 0).decode("utf-8", "surrogatepass")
        _grant_cpu_time(order)
        if order.number == 1:
            _seed(order.seed)
        if order.last:
            _serve_standard_input(order.program_bytes)
            outcome = _run(source, PROGRAM_NAME, main, exec)
        else:
            if interrupts is None:
                interrupts = Interrupts()
                _serve_standard_input(os.fstat(PROGRAM_DESCRIPTOR).st_size)  # nothing
            interrupts.forget()
            outcome = _run(source, STEP_NAME.format(order.number), main, interrupts.execute)
        write_report(order, outcome)
        code = outcome.exit_code
        if order.last:
            break
    return code


def _grant_cpu_time(order: Order) -> None:
    """The kernel counts a process's whole life, so each order adds to what the earlier ones used."""
    if order.last and order.number == 1:
        resource.setrlimit(resource.RLIMIT_CPU, (order.cpu_seconds, order.cpu_seconds + 1))
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    # A second more: a step that is interrupted at its deadline gets a moment to end.
    seconds = math.ceil(used.ru_utime + used.ru_stime) + order.cpu_seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _serve_standard_input(start: int) -> None:
    """What lies in the program's file from `start` on is its standard input.

    The zygote's own, which every child inherits, is one open file for all of them: they could talk through its flags.
    """
    os.dup2(PROGRAM_DESCRIPTOR, 0)
    os.lseek(0, start, os.SEEK_SET)


def _seed(seed: int) -> None:
    """Without it every child would repeat the zygote's random stream."""
    modules = sys.modules
    modules["random"].seed(seed)
    for name in ("numpy.random", "sympy.core.random"):
        if name in modules:
            modules[name].seed(seed)


class _Outcome(NamedTuple):
    """How a program ended, as the child sees it."""

    exit_code: int
    status: str
    exc_type: str | None
    exc_message: str | None
    traceback: str


def _run(source: str, name: str, main: types.ModuleType, execute: Callable[..., None]) -> _Outcome:
    """Runs a program as `__main__`, by `exec` or what stands for it."""
    flush = _flusher()
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    status, code = "syntax_error", 1
    error: BaseException | None = None
    try:
        compiled = compile(source, name, "exec", dont_inherit=True)
        status = "runtime_error"
        execute(compiled, main.__dict__)
        status, code = "ok", 0
    except SystemExit as request:
        status, code = _exit_code(request)
    except MemoryError as exception:
        status, error = "memory_limit", exception
    except BaseException as exception:
        error = exception
    described = _describe_somehow(error) if error is not None else (None, None, "")
    flush()
    return _Outcome(code, status, *described)


def _exit_code(request: SystemExit) -> tuple[str, int]:
    """The status and code of `sys.exit(x)`, the way the interpreter reads x."""
    value = request.code
    if value is None:
        return "ok", 0
    if isinstance(value, int):
        code = int.__and__(value, 0xFF)  # a class of the program's may have an `&` of its own
        return ("exit", code) if code else ("ok", 0)
    _print_error(f"{value}\n")
    return "exit", 1


def _print_error(text: str) -> None:
    try:
        sys.stderr.write(text)
    except BaseException:
        return  # the program closed stderr or put something else there


def _describe_somehow(error: BaseException) -> tuple[str, str | None, str]:
    """`_describe`; of an exception that is made so that this fails, the class alone."""
    try:
        return _describe(error)
    except BaseException:
        name: str = type.__dict__["__name__"].__get__(type(error))
        _print_error(f"{name}\n")
        return name, None, ""


def _describe(error: BaseException) -> tuple[str, str, str]:
    """Prints the traceback as the interpreter does and returns class, message and traceback for the report."""
    summary = traceback.TracebackException.from_exception(error, limit=-_MAX_FRAMES)
    _keep_program_frames(summary)
    in_program = error.__traceback__ is not None and bool(summary.stack)
    text = _without_path("".join(summary.format() if in_program else summary.format_exception_only()), error)
    _print_error(text)
    kind = type(error)
    module = kind.__module__
    name = kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"
    message = str(summary.msg) if isinstance(error, SyntaxError) else _without_path(str(summary), error)
    return name, message[:_MAX_MESSAGE], text[-_MAX_TRACEBACK:]


def _without_path(text: str, error: BaseException) -> str:
    """Drops where a module lies on this machine, so that the same mistake reads the same everywhere."""
    path = error.path if isinstance(error, ImportError) else None
    return text.replace(f" ({path})", "") if isinstance(path, str) else text


def _keep_program_frames(summary: traceback.TracebackException) -> None:
    """Drops the frames of this harness and of libraries, in chained exceptions too."""
    pending: list[traceback.TracebackException | None] = [summary]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        frames = [frame for frame in current.stack if frame.filename.startswith(_OWN_NAMES)]
        current.stack = traceback.StackSummary.from_list(frames)
        pending += [current.__cause__, current.__context__, *(current.exceptions or ())]


def _report_writer() -> Callable[[Order, _Outcome], None]:
    """A function that sends a report, with everything it needs bound now."""
    write, dumps, descriptor, usage, ok = os.write, json.dumps, REPORT_DESCRIPTOR, resource.getrusage, _OK_REPORT

    def write_report(order: Order, outcome: _Outcome) -> None:
        used = usage(resource.RUSAGE_SELF)
        spent = (round(used.ru_utime * 1e6), round(used.ru_stime * 1e6), used.ru_maxrss)
        if outcome.status == "ok":
            line = ok % (order.number, *spent)
        else:
            line = dumps(_report_fields(order, outcome, *spent)).encode() + b"\n"
        try:
            write(descriptor, line)
        except OSError:
            return  # the program closed or filled the pipe; the exit code still speaks

    return write_report


def _report_fields(order: Order, outcome: _Outcome, user_us: int, system_us: int, max_rss_kb: int) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "exc_type": outcome.exc_type,
        "exc_message": outcome.exc_message,
        "traceback": outcome.traceback,
        "step": order.number,
        "exit_code": outcome.exit_code,
        "user_us": user_us,
        "system_us": system_us,
        "max_rss_kb": max_rss_kb,
    }


def _flusher() -> Callable[[], None]:
    """A function that sends out what is buffered, in the streams of now and in those that the program put in their place."""
    streams = _standard_outputs()

    def flush() -> None:
        for stream in (*_standard_outputs(), *streams):
            try:
                stream.flush()
            except BaseException:
                continue  # closed, or not a stream: nothing of it can be saved

    return flush


def _standard_outputs() -> tuple[Any, Any]:
    """What stands as stdout and stderr now; a program may even have deleted them."""
    return getattr(sys, "stdout", None), getattr(sys, "stderr", None)


def prepare_standard_streams() -> None:
    """Sets up the zygote's streams as children inherit them: UTF-8 that never fails, and nothing below 6 free.

    A received descriptor then never has a number onto which a child duplicates another one.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.stdout = _writer_to_pipe(1, "<stdout>", line_buffering=False)
    sys.stderr = _writer_to_pipe(2, "<stderr>", line_buffering=True)
    vars(sys).update(__stdout__=sys.stdout, __stderr__=sys.stderr)
    for descriptor in range(REPORT_DESCRIPTOR, _LAST_DESCRIPTOR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(0, descriptor, inheritable=False)


def _writer_to_pipe(descriptor: int, name: str, line_buffering: bool) -> io.TextIOWrapper:
    """A standard stream that takes its descriptor for a pipe's, which it will be in every child.

    A stream asks only once whether it can seek. What this process has there can, and the stream of a child that believed it
    would fail in `reconfigure`.
    """
    kept = os.dup(descriptor)
    pipe = os.pipe()
    os.dup2(pipe[1], descriptor)
    stream = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    stream.reconfigure(line_buffering=line_buffering)
    stream.buffer.raw.name = name  # type: ignore[attr-defined]
    os.dup2(kept, descriptor)
    for each in (kept, *pipe):
        os.close(each)
    return stream
