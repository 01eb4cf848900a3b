"""Whether the server does what it is there for: found out by running a program, not by being alive."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, Field

from sandbox.api import Sandbox
from sandbox.http.admission import Admission
from sandbox.limits import MAX_WALL_SECONDS
from sandbox.result import Isolation, Result, Status

PROGRAM: Final = "print(6 * 7)"
OUTPUT: Final = "42\n"
PATIENCE_SECONDS: Final = 5.0
LONGEST_SILENCE_SECONDS: Final = MAX_WALL_SECONDS + PATIENCE_SECONDS
"""No program runs longer, so where programs run, one ends within this time."""


class Condition(StrEnum):
    """What the check found."""

    OK = "ok"
    """Its own program ran."""
    BUSY = "busy"
    """Its own program waits its turn, but others end."""
    FAILING = "failing"
    """Programs do not end, or not as they should."""


class Execution(BaseModel):
    """The check's own program."""

    status: Status
    wall_ms: float
    queue_ms: float

    @classmethod
    def of(cls, result: Result) -> Execution:
        return cls(status=result.status, wall_ms=result.wall_ms, queue_ms=result.queue_ms)


class HealthReport(BaseModel):
    """The reply to `GET /health`."""

    status: Condition
    level: int = Field(description="The isolation level; see `isolation`.")
    isolation: Isolation
    execution: Execution | None = Field(description="Null if it was still waiting.")
    in_flight: int = Field(description="Requests that run or wait.")
    capacity: int = Field(description="How many may; the next gets 429.")
    saturation: float = Field(description="How full the server is, from 0 to 1.")
    executed: int = Field(description="Programs of clients that have come to their end here.")


def judge(own: Result | None, silence_seconds: float) -> Condition:
    """What a check has found. Pure.

    Args:
        own: the end of the check's program; None if it still waits.
        silence_seconds: time since the last end of any other program.
    """
    if own is not None:
        return Condition.OK if own.ok and own.stdout == OUTPUT else Condition.FAILING
    return Condition.BUSY if silence_seconds < LONGEST_SILENCE_SECONDS else Condition.FAILING


class Health:
    """Checks on demand. Concurrent demands share one check, so that asking is no way to keep the server busy."""

    def __init__(self, sandbox: Sandbox, admission: Admission) -> None:
        self._sandbox = sandbox
        self._admission = admission
        self._executed = 0
        self._last_end = time.monotonic()
        self._another_ended = asyncio.Event()
        self._current: asyncio.Task[HealthReport] | None = None

    def note(self, result: Result) -> None:
        """Takes note of a client's program."""
        if result.status not in (Status.SANDBOX_ERROR, Status.CANCELLED):
            self._executed += 1
            self._last_end = time.monotonic()
            self._another_ended.set()

    async def check(self) -> HealthReport:
        """Runs a program, but waits no longer for it than until another one ends, or for `PATIENCE_SECONDS`.

        Raises:
            SandboxError: the sandbox is closed.
        """
        if self._current is None or self._current.done():
            self._current = asyncio.create_task(self._examine())
        return await asyncio.shield(self._current)

    async def _examine(self) -> HealthReport:
        own = await self._run()
        return HealthReport(
            status=judge(own, time.monotonic() - self._last_end),
            level=self._sandbox.isolation.level,
            isolation=self._sandbox.isolation,
            execution=None if own is None else Execution.of(own),
            in_flight=self._admission.requests,
            capacity=self._admission.max_requests,
            saturation=self._admission.saturation,
            executed=self._executed,
        )

    async def _run(self) -> Result | None:
        """The check's own program; None if it is not worth waiting for any longer."""
        self._another_ended.clear()
        own = asyncio.create_task(self._sandbox.arun(PROGRAM, timeout=PATIENCE_SECONDS))
        another = asyncio.create_task(self._another_ended.wait())
        try:
            await asyncio.wait((own, another), timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            return own.result() if own.done() else None
        finally:
            own.cancel()
            another.cancel()
