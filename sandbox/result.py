"""What one execution was, in the caller's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """How a program ended. Facts that the kernel reports beat what the program says about itself.

    `OK` is a claim of the program (it could write "I ended well" itself), so it is no evidence that an answer is right:
    compare its output with something that the program has never seen.
    """

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    """An exception reached the top of the program."""
    SYNTAX_ERROR = "syntax_error"
    """The program was refused before its first statement: it does not compile, or it is too long."""
    EXIT = "exit"
    """It left with a non-zero code: `sys.exit`, `os._exit`."""
    TIMEOUT = "timeout"
    """Killed at the wall-clock deadline or by the CPU limit."""
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    CRASH = "crash"
    """Killed by a signal that was not ours, e.g. a segmentation fault."""
    CANCELLED = "cancelled"
    """The sandbox was closed, or the caller cancelled, before the program ended."""
    SANDBOX_ERROR = "sandbox_error"
    """The sandbox's own fault, and a second attempt failed or did not fit into the call's time. Says nothing about the program,
    and no program can bring it about: never a reward."""


class SessionState(StrEnum):
    """What has become of a session's state with a step, and so what the next step finds."""

    KEPT = "kept"
    """All that this step left, even if it failed half-way; a step that was refused unread has left nothing."""
    REBUILT = "rebuilt"
    """What the accepted steps left, as if this one had never been: they run again, in a fresh process, before the next step."""
    LOST = "lost"
    """Nothing: the session begins anew, as after `reset`."""


class Level(IntEnum):
    """How strongly a program is confined. Each level includes those before it, but see `FILTERED` and `NAMESPACED`."""

    LIMITS = 0
    """Own process, resource limits, clean environment. Files, network and other processes of this user stay in reach."""
    FILTERED = 1
    """And seccomp: no process, socket or signal to others. Nothing but seccomp keeps a program from files, so it can open
    none at all: it has no directory of its own and imports only what is preloaded."""
    CONFINED = 2
    """And Landlock: a program can open the libraries and its scratch directory, and nothing else."""
    NAMESPACED = 3
    """And a file tree in which nothing but the libraries exists, a scratch file system of bounded size, no other process and
    no network interface. Where the kernel lacks Landlock, this level goes without it."""
    OWN_KERNEL = 4
    """Level 2 or 3 in a pod with a kernel of its own (gVisor, a virtual machine), as its operator declares."""


def check_levels(min_level: int, max_level: int) -> None:
    """Refuses a range of levels that is none.

    Raises:
        ValueError: one of them is no level, or the least is above the greatest.
    """
    for name, level in (("min_level", min_level), ("max_level", max_level)):
        if level not in tuple(Level):
            raise ValueError(f"{name} is {level!r}; it must be one of {', '.join(str(int(each)) for each in Level)}")
    if min_level > max_level:
        raise ValueError(f"min_level is {min_level:d}, above max_level, which is {max_level:d}")


@dataclass(frozen=True, slots=True)
class Isolation:
    """The confinement that a program really ran under, as probed live in the process that runs it.

    Attributes:
        level: the level granted by the probes.
        landlock_abi: Landlock's version in this kernel, 0 without Landlock.
        seccomp: fingerprint of the system-call filter, empty without one.
        user_id: the numeric user that programs run as.
        shortfalls: why the level is not higher, and what it goes without; empty at level 3 with Landlock.
        namespaces: whether programs run in namespaces and a root directory of their own.
    """

    level: Level
    landlock_abi: int
    seccomp: str
    user_id: int
    shortfalls: tuple[str, ...] = ()
    namespaces: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One execution.

    Attributes:
        status: how it ended.
        stdout: standard output, decoded as UTF-8 with invalid bytes replaced; its middle is cut out beyond the limit.
        stderr: standard error, the same way. After an exception it ends as the interpreter would end it.
        truncated: whether something was cut out of stdout or stderr.
        exc_type: the exception's class as the interpreter prints it (`ValueError`, `sympy.core.sympify.SympifyError`). Of a
            program that never started: `SandboxError`, `ProgramTooLong`, or `StateNotRebuilt` (see `Session`).
        exc_message: its text. For `sandbox_error`: what went wrong in the sandbox.
        traceback: the formatted traceback with the program's own frames only; empty without an exception.
        exit_code: the process's exit code; None if a signal ended it or it never started.
        signal: the signal that ended it, else None.
        wall_ms: from dispatch to the end.
        cpu_user_ms: user CPU time of the process.
        cpu_sys_ms: system CPU time of the process.
        max_rss_kb: peak resident memory, pages shared with the preloaded libraries included.
        queue_ms: from the call to the dispatch.
        files: the files of `Request.fetch` that were there, were regular files and fitted the limit.
        files_refused: for each of the others, why not.
        isolation: what it ran under; None if it never ran.
        seed: what `random`, NumPy and SymPy were seeded with.
        attempt: 1, or 2 after a `sandbox_error` was retried.
        state: what has become of the session's state; None for a program that ran alone.
    """

    status: Status
    stdout: str
    stderr: str
    truncated: bool
    exc_type: str | None
    exc_message: str | None
    traceback: str
    exit_code: int | None
    signal: int | None
    wall_ms: float
    cpu_user_ms: float
    cpu_sys_ms: float
    max_rss_kb: int
    queue_ms: float
    files: Mapping[str, bytes]
    files_refused: Mapping[str, str]
    isolation: Isolation | None
    seed: int
    attempt: int
    state: SessionState | None = None

    @property
    def ok(self) -> bool:
        """Whether the program ran to its end without an error."""
        return self.status is Status.OK

    @property
    def error_line(self) -> str | None:
        """The interpreter's own last line, `ZeroDivisionError: division by zero`; None without an exception."""
        if self.exc_type is None:
            return None
        return f"{self.exc_type}: {self.exc_message}" if self.exc_message else self.exc_type
