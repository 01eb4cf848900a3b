"""The life of one program: take the descriptors, lock down, run, report, end.

Everything here runs in a process of its own, forked from the zygote. From the program's first statement on nothing in this
process is trusted: the program may replace any function or object that it can reach. So what must happen afterwards uses
local variables bound before, and the worst that a sabotaged ending can do is to lose the child's own report.
"""

from __future__ import annotations

import builtins
import io
import json
import linecache
import os
import resource
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from sandbox.inside import kernel, landlock, seccomp
from sandbox.wire import REPORT_STARTED, Order

PROGRAM_NAME = "<program>"
REPORT_DESCRIPTOR = 3

# A report must fit into a pipe even when every character becomes a six-byte JSON escape.
_MAX_MESSAGE = 1_500
_MAX_TRACEBACK = 6_000


class Descriptors(NamedTuple):
    """What an order carries, in the order of `wire.ORDER_DESCRIPTORS`."""

    program: int
    stdout: int
    stderr: int
    report: int
    scratch: int


class Confinement(NamedTuple):
    """What a child does to itself.

    Attributes:
        landlock_abi: 0 if this machine cannot confine (level 0).
        readable: descriptors of the library directories.
        limits: (resource, soft, hard) triples.
    """

    landlock_abi: int
    readable: tuple[int, ...]
    limits: tuple[tuple[int, int, int], ...]


def run_child(order: Order, descriptors: Descriptors, confinement: Confinement, zygote: int) -> NoReturn:
    """Runs the program; never returns into the zygote's code."""
    leave = os._exit
    code = 1
    try:
        try:
            source = _prepare(order, descriptors, confinement, zygote)
        except BaseException as error:
            os.write(descriptors.report, f"{type(error).__name__}: {error}"[:_MAX_MESSAGE].encode())
            raise
        code = _run(source)
    finally:
        leave(code)


def _prepare(order: Order, descriptors: Descriptors, confinement: Confinement, zygote: int) -> str:
    """Takes the descriptors and locks this process down; returns the program's text."""
    kernel.die_with_parent(zygote)
    os.dup2(descriptors.stdout, 1)
    os.dup2(descriptors.stderr, 2)
    os.dup2(descriptors.report, REPORT_DESCRIPTOR)
    os.set_inheritable(REPORT_DESCRIPTOR, False)
    os.fchdir(descriptors.scratch)
    source = _read_all(descriptors.program)
    for name, soft, hard in (*confinement.limits, (resource.RLIMIT_CPU, order.cpu_seconds, order.cpu_seconds + 1)):
        resource.setrlimit(name, (soft, hard))
    if confinement.landlock_abi:
        landlock.confine(confinement.landlock_abi, confinement.readable, descriptors.scratch)
    kernel.close_from(REPORT_DESCRIPTOR + 1)
    if confinement.landlock_abi:
        seccomp.install(seccomp.child_filter(os.getpid()))
    _seed(order.seed)
    os.write(REPORT_DESCRIPTOR, REPORT_STARTED)
    return source


def _read_all(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode("utf-8", "surrogatepass")


def _seed(seed: int) -> None:
    """Without it every child would repeat the zygote's random stream."""
    modules = sys.modules
    modules["random"].seed(seed)
    for name in ("numpy.random", "sympy.core.random"):
        if name in modules:
            modules[name].seed(seed)


def _run(source: str) -> int:
    """Runs the program as `__main__`, reports how it ended, returns the exit code."""
    write_report, flush = _report_writer(), _flusher()
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    linecache.cache[PROGRAM_NAME] = (len(source), None, source.splitlines(keepends=True), PROGRAM_NAME)
    status, code = "syntax_error", 1
    error: BaseException | None = None
    try:
        compiled = compile(source, PROGRAM_NAME, "exec", dont_inherit=True)
        status = "runtime_error"
        exec(compiled, main.__dict__)
        status, code = "ok", 0
    except SystemExit as request:
        status, code = _exit_code(request)
    except MemoryError as exception:
        status, error = "memory_limit", exception
    except BaseException as exception:
        error = exception
    described = _describe(error) if error is not None else (None, None, "")
    flush()
    write_report(status, *described)
    return code


def _exit_code(request: SystemExit) -> tuple[str, int]:
    """The status and code of `sys.exit(x)`, the way the interpreter reads x."""
    value = request.code
    if value is None:
        return "ok", 0
    if isinstance(value, int):
        return ("exit", value & 0xFF) if value & 0xFF else ("ok", 0)
    _print_error(f"{value}\n")
    return "exit", 1


def _print_error(text: str) -> None:
    try:
        sys.stderr.write(text)
    except (OSError, ValueError, AttributeError):
        return  # the program closed stderr or put something else there


def _describe(error: BaseException) -> tuple[str, str, str]:
    """Prints the traceback as the interpreter does and returns class, message and traceback for the report."""
    summary = traceback.TracebackException.from_exception(error)
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
        frames = [frame for frame in current.stack if frame.filename == PROGRAM_NAME]
        current.stack = traceback.StackSummary.from_list(frames)
        pending += [current.__cause__, current.__context__, *(current.exceptions or ())]


def _report_writer() -> Callable[[str, str | None, str | None, str], None]:
    """A function that sends the report, with everything it needs bound now."""
    write, dumps, descriptor = os.write, json.dumps, REPORT_DESCRIPTOR

    def write_report(status: str, exc_type: str | None, exc_message: str | None, text: str) -> None:
        fields: dict[str, Any] = {"status": status, "exc_type": exc_type, "exc_message": exc_message, "traceback": text}
        try:
            write(descriptor, dumps(fields).encode())
        except OSError:
            return  # the program closed or filled the pipe; the exit code still speaks

    return write_report


def _flusher() -> Callable[[], None]:
    """A function that sends out what is buffered, in the streams of now and in those that the program put in their place."""
    streams = (sys.stdout, sys.stderr)

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr, *streams):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue  # closed, or not a stream: nothing of it can be saved

    return flush


def prepare_standard_streams() -> None:
    """Sets up the zygote's streams as children inherit them: UTF-8 that never fails, and nothing below 4 free.

    A received descriptor then never has a number onto which a child duplicates another one.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    os.dup2(0, REPORT_DESCRIPTOR, inheritable=False)
