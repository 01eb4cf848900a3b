"""A program on its way through the queue, and the results of those that never ran."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sandbox.request import Request
from sandbox.result import Result, Status

OVERRUN_SECONDS = 0.75
"""How long after its timeout a call may return: a loaded machine needs some of it to kill, reap and report."""


@dataclass(eq=False, slots=True)
class Job:
    """A request that somebody waits for.

    Attributes:
        request: what to run.
        timeout: wall-clock seconds granted.
        seed: the seed drawn for it.
        deliver: receives the result, once, on the supervisor's thread.
        submitted: when the caller asked (time.monotonic).
        dispatched: when it first left the queue; 0 before.
        attempt: 1, and 2 after a fault of the sandbox.
    """

    request: Request
    timeout: float
    seed: int
    deliver: Callable[[Result], None]
    submitted: float = field(default_factory=time.monotonic)
    dispatched: float = 0.0
    attempt: int = 1

    @property
    def expiry(self) -> float:
        """When the caller must have a result, come what may: soon after its timeout, once the job has left the queue."""
        return self.dispatched + self.timeout + OVERRUN_SECONDS if self.dispatched else float("inf")

    def refusal(self, max_bytes: int) -> Result | None:
        """The result of a program that is too long to be looked at; None if it is not."""
        size = len(self.request.code.encode("utf-8", "surrogatepass"))
        if size <= max_bytes:
            return None
        text = f"the program has {size} bytes, the limit is {max_bytes}"
        return replace(self.unrun(Status.SYNTAX_ERROR, text, kind="ProgramTooLong"), stderr=f"ProgramTooLong: {text}\n")

    def unrun(self, status: Status, reason: str, kind: str | None = None) -> Result:
        """The result of a program that never started, or whose end nobody saw; `kind` stands in for an exception's class."""
        return Result(
            status=status,
            stdout="",
            stderr="",
            truncated=False,
            exc_type=kind,
            exc_message=reason,
            traceback="",
            exit_code=None,
            signal=None,
            wall_ms=0.0,
            cpu_user_ms=0.0,
            cpu_sys_ms=0.0,
            max_rss_kb=0,
            queue_ms=1000 * (time.monotonic() - self.submitted),
            files={},
            files_refused={},
            isolation=None,
            seed=self.seed,
            attempt=self.attempt,
        )
