"""One attempt at one program, from dispatch to result: its descriptors, its deadlines, what it wrote."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
from collections.abc import Callable

from sandbox.capture import HeadTailCapture
from sandbox.job import Job
from sandbox.limits import Limits, cpu_seconds
from sandbox.reactor import Reactor
from sandbox.result import Isolation, Result, Status
from sandbox.scratch import Scratch
from sandbox.verdict import judge, read_report
from sandbox.wire import REPORT_STARTED, Ended, Order

_CHUNK = 64 * 1024
_LAST_READS = 32
"""A pipe holds at most a few chunks once its writer is dead; a writer that somehow survived must not keep us reading."""
CHECK_SECONDS = 0.25
"""How often a zygote that owes a message is looked at."""
PATIENCE_SECONDS = 10.0
"""How long a zygote that runs, on however loaded a machine, may owe a message."""


class Execution:
    """State of one attempt. Used by the supervisor's thread only.

    Attributes:
        job: whose attempt it is.
        number: names the attempt in the packets.
        scratch: its working directory.
        next_check: when `check` wants to be called (time.monotonic).
    """

    def __init__(self, job: Job, number: int, scratch: Scratch, limits: Limits, reactor: Reactor) -> None:
        self.job = job
        self.number = number
        self.scratch = scratch
        self._limits = limits
        self._reactor = reactor
        self._dispatched = time.monotonic()
        self._deadline = float("inf")
        self._waiting_since: float | None = self._dispatched
        self.next_check = self._dispatched + CHECK_SECONDS
        self._killed_for: Status | None = None
        self._pidfd: int | None = None
        self._report = -1
        self._open: dict[int, HeadTailCapture] = {}
        self._stdout = HeadTailCapture(limits.output_head_bytes, limits.output_tail_bytes)
        self._stderr = HeadTailCapture(limits.output_head_bytes, limits.output_tail_bytes)

    @property
    def order(self) -> Order:
        return Order(self.number, self.job.seed, cpu_seconds(self.job.timeout))

    def open(self) -> tuple[int, ...]:
        """Makes the pipes and the sealed program; returns the child's ends (all but the scratch directory), to be sent and closed.

        Raises:
            OSError: out of descriptors.
        """
        ends: list[int] = [_sealed(self.job.request.code.encode("utf-8", "surrogatepass"))]
        try:
            for capture in (self._stdout, self._stderr):
                read, write = os.pipe2(os.O_CLOEXEC)
                ends.append(write)
                os.set_blocking(read, False)
                self._open[read] = capture
                self._reactor.watch(read, self._reader(read, capture))
            self._report, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            ends.append(write)
        except OSError:
            for descriptor in ends:
                os.close(descriptor)
            self.release()
            raise
        return tuple(ends)

    def started(self, pidfd: int) -> None:
        """The child runs; from here its time counts."""
        self._pidfd = pidfd
        if self._killed_for is not None:
            self.kill(self._killed_for)
            return
        self._waiting_since = None
        self._deadline = self.next_check = time.monotonic() + self.job.timeout

    def kill(self, reason: Status) -> None:
        """Ends the program; the first reason stands. Before the child is known, it dies as soon as it is."""
        if self._killed_for is None:
            self._killed_for = reason
        if self._pidfd is not None:
            _kill(self._pidfd)
        if self._waiting_since is None:
            self._wait_for_zygote()

    def check(self, zygote_is_stopped: Callable[[], bool]) -> str | None:
        """Enforces the deadline. Returns why the zygote must be given up, if it must."""
        now = time.monotonic()
        if self._waiting_since is None:
            if self._pidfd is not None and _is_dead(self._pidfd):
                self._wait_for_zygote()
            elif now >= self._deadline:
                self.kill(Status.TIMEOUT)
            else:
                self.next_check = self._deadline
            return None
        if zygote_is_stopped():
            return "the worker process is stopped"
        if now - self._waiting_since > PATIENCE_SECONDS:
            return f"the worker process has not answered for {PATIENCE_SECONDS:g} s"
        self.next_check = now + CHECK_SECONDS
        return None

    def conclude(self, ended: Ended, isolation: Isolation | None) -> Result | str:
        """The result; or, if the program never started, the sandbox's fault in words."""
        for read, capture in tuple(self._open.items()):
            for _ in range(_LAST_READS):
                if not self._read(read, capture):
                    break
        report = self._read_report()
        self.release()
        if not report.startswith(REPORT_STARTED) and self._killed_for is None:
            return f"the program's process could not be set up: {report.decode('utf-8', 'replace') or ended}"
        claim = read_report(report[len(REPORT_STARTED) :])
        verdict = judge(self._killed_for, ended, claim, cpu_seconds(self.job.timeout), self._limits.memory_bytes)
        spoken = claim if claim is not None and claim.status is verdict.status else None
        return Result(
            status=verdict.status,
            stdout=self._stdout.text(),
            stderr=self._stderr.text(),
            truncated=self._stdout.truncated or self._stderr.truncated,
            exc_type=spoken.exc_type if spoken else None,
            exc_message=spoken.exc_message if spoken else None,
            traceback=spoken.traceback if spoken else "",
            exit_code=verdict.exit_code,
            signal=verdict.signal,
            wall_ms=1000 * (time.monotonic() - self._dispatched),
            cpu_user_ms=ended.user_us / 1000,
            cpu_sys_ms=ended.system_us / 1000,
            max_rss_kb=ended.max_rss_kb,
            queue_ms=1000 * (self._dispatched - self.job.submitted),
            isolation=isolation,
            seed=self.job.seed,
            attempt=self.job.attempt,
        )

    def abandon(self, reason: str) -> Result:
        """Gives the attempt up; what we had already decided (a timeout, a cancellation) stays true, the rest is a fault."""
        self.release()
        if self._killed_for is not None:
            return self.job.unrun(self._killed_for, reason)
        return self.job.unrun(Status.SANDBOX_ERROR, reason, kind="SandboxError")

    def release(self) -> None:
        """Closes every descriptor, and kills the program if it lives. Harmless when repeated."""
        for read in tuple(self._open):
            self._close_output(read)
        if self._report >= 0:
            os.close(self._report)
            self._report = -1
        if self._pidfd is not None:
            _kill(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _wait_for_zygote(self) -> None:
        self._waiting_since = time.monotonic()
        self.next_check = self._waiting_since + CHECK_SECONDS

    def _reader(self, read: int, capture: HeadTailCapture) -> Callable[[], None]:
        def on_readable() -> None:
            self._read(read, capture)
            if self._stdout.total + self._stderr.total > self._limits.output_bytes and self._killed_for is None:
                self.kill(Status.OUTPUT_LIMIT)
            if not self._open and self._waiting_since is None:
                # Either it has just ended or it closed its streams; the next check finds out which.
                self.next_check = min(self.next_check, time.monotonic() + CHECK_SECONDS)

        return on_readable

    def _read(self, read: int, capture: HeadTailCapture) -> bool:
        """Takes one chunk; returns whether there may be more now."""
        try:
            chunk = os.read(read, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._close_output(read)
            return False
        capture.feed(chunk)
        return True

    def _close_output(self, read: int) -> None:
        del self._open[read]
        self._reactor.unwatch(read)
        os.close(read)

    def _read_report(self) -> bytes:
        """The report lies in its pipe whole: the child is dead and never had to wait for us to write it."""
        try:
            return os.read(self._report, _CHUNK)
        except BlockingIOError:
            return b""


def _sealed(data: bytes) -> int:
    """A file in memory that nobody can change any more."""
    descriptor = os.memfd_create("program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _is_dead(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return  # reaped already
