"""One step of a session as seen from outside: what it wrote, when it must be interrupted or killed, when it is over.

Pure: no clock, no descriptor. Whoever drives an exchange feeds it what the process wrote, calls `tick` with the time, and
sends the process the signal that `tick` returns.
"""

from __future__ import annotations

import signal
from enum import Enum, auto
from typing import NamedTuple

from sandbox.capture import HeadTailCapture
from sandbox.limits import KIB, Limits
from sandbox.result import Status
from sandbox.verdict import Report, check_report, parse_report

GRACE_SECONDS = 0.2
"""How long an interrupted step may take to end; after that its process is killed."""
_FAREWELL_SECONDS = 0.1
"""A process that dies closes its report pipe first; one that has only closed the pipe is still there after so long."""
_MAX_REPORT_BYTES = 64 * KIB
_MAX_NUMBER = 2**53


class StepReport(NamedTuple):
    """What a session's child says at the end of a step. The program can forge all of it.

    Attributes:
        claim: how the step ended.
        exit_code: what the step would have ended a process with.
        user_us: user CPU time of the process so far, in microseconds.
        system_us: system CPU time of the process so far, in microseconds.
        max_rss_kb: peak resident memory of the process so far, in KiB.
    """

    claim: Report
    exit_code: int
    user_us: int
    system_us: int
    max_rss_kb: int


def read_step_report(line: bytes, number: int) -> StepReport | None:
    """Parses the report on step `number`; None if it is not one. Never raises."""
    fields = parse_report(line)
    claim = check_report(fields)
    if claim is None:
        return None
    numbers = [fields.get(name) for name in ("exit_code", "user_us", "system_us", "max_rss_kb")]
    for each in numbers:
        if type(each) is not int or not 0 <= each < _MAX_NUMBER:
            return None
    exit_code = numbers[0]
    if fields.get("step") != number or exit_code > 0xFF or (exit_code == 0) != (claim.status is Status.OK):
        return None
    return StepReport(claim, *numbers)


class _Phase(Enum):
    RUNNING = auto()
    INTERRUPTED = auto()
    """It was asked to end."""
    MUTE = auto()
    """Its report can never come; most likely it is dying."""
    DOOMED = auto()
    """To be killed at the next opportunity."""
    KILLED = auto()


class Exchange:
    """A step, from its order to its report or its process's end.

    Args:
        number: the step's number, which its report must name.
        limits: bounds on what it may write.
        deadline: when its time is over, on the clock that `tick` is called with.
        grace: seconds between the interruption of a step and the killing of its process; 0 kills at once.

    Attributes:
        moment: when `tick` wants to be called.
        report: what the child reported; the step is over then.
        stopped_for: why we ended it, if we did.
        fault: what the program did to the pipes that made us kill it, if it did.
    """

    def __init__(self, number: int, limits: Limits, deadline: float, grace: float) -> None:
        self.stdout = HeadTailCapture(limits.output_head_bytes, limits.output_tail_bytes)
        self.stderr = HeadTailCapture(limits.output_head_bytes, limits.output_tail_bytes)
        self.moment = deadline
        self.report: StepReport | None = None
        self.stopped_for: Status | None = None
        self.fault: str | None = None
        self._number = number
        self._output_bytes = limits.output_bytes
        self._deadline = deadline
        self._grace = grace
        self._phase = _Phase.RUNNING
        self._said = b""

    def feed_report(self, chunk: bytes, now: float) -> None:
        """Takes in what came by the report pipe; nothing at its end."""
        if self._phase not in (_Phase.RUNNING, _Phase.INTERRUPTED):
            return
        self._said += chunk
        if not chunk:
            self._phase = _Phase.MUTE
            self.moment = now + _FAREWELL_SECONDS
        elif self._said.endswith(b"\n") and self._said.count(b"\n") == 1:
            self.report = read_step_report(self._said, self._number)
            self._spoil_unless(self.report is not None)
        else:
            self._spoil_unless(b"\n" not in self._said and len(self._said) <= _MAX_REPORT_BYTES)

    def give_up(self, reason: Status) -> None:
        """Whatever it has reported, the process must not go on; the next `tick` kills it."""
        if self._phase is not _Phase.KILLED:
            self.report = None
            self.stopped_for = self.stopped_for or reason
            self._phase = _Phase.DOOMED

    def tick(self, now: float) -> signal.Signals | None:
        """Returns what is to be sent to the process now, if anything is."""
        match self._phase:
            case _Phase.RUNNING if now >= self._deadline:
                return self._stop(Status.TIMEOUT, now)
            case _Phase.RUNNING if self.stdout.total + self.stderr.total > self._output_bytes:
                return self._stop(Status.OUTPUT_LIMIT, now)
            case _Phase.INTERRUPTED if now >= self.moment:
                return self._kill()
            case _Phase.MUTE if now >= self.moment:
                self.fault = "the program closed the sandbox's report pipe"
                return self._kill()
            case _Phase.DOOMED:
                return self._kill()
        return None

    def _stop(self, reason: Status, now: float) -> signal.Signals:
        self.stopped_for = reason
        if self._grace <= 0:
            return self._kill()
        self._phase = _Phase.INTERRUPTED
        self.moment = now + self._grace
        return signal.SIGINT

    def _kill(self) -> signal.Signals:
        self._phase = _Phase.KILLED
        self.moment = float("inf")
        return signal.SIGKILL

    def _spoil_unless(self, sound: bool) -> None:
        if not sound:
            self.fault = "the program wrote into the sandbox's report pipe"
            self._phase = _Phase.DOOMED
