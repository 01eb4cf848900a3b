"""One child and the one program it runs, from the fork to the result: its descriptors, its deadlines, what it wrote."""

from __future__ import annotations

import array
import fcntl
import os
import select
import signal
import termios
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from sandbox.capture import HeadTailCapture
from sandbox.job import Job
from sandbox.limits import Limits
from sandbox.pipes import one_way_pipe
from sandbox.reactor import Reactor
from sandbox.result import Isolation, Result, Status
from sandbox.scratch import Scratch
from sandbox.threads import WATCH_SECONDS, count_threads
from sandbox.transfer import fetch_files, write_files
from sandbox.verdict import judge, read_report
from sandbox.wire import REPORT_READY, Ended, Order

_CHUNK = 64 * 1024
_LAST_READS = 32
"""A pipe holds at most a few chunks once its writer is dead; a writer that somehow survived must not keep us reading."""
CHECK_SECONDS = 0.25
"""How often a zygote that owes a message is looked at."""
PATIENCE_SECONDS = 10.0
"""How long a zygote that runs, on however loaded a machine, may owe a message before it is given up."""


class ExecutionEvents(Protocol):
    """What the owner of an execution is told."""

    def answer(self, job: Job, result: Result) -> None:
        """The job's attempt is over."""

    def vacate(self, execution: Execution, unharmed: bool) -> None:
        """The child is gone; `unharmed` if nothing of it can still be at work in its directory."""


class Execution:
    """One child that runs one program; an `Occupant` of its zygote. Used by the supervisor's thread only.

    A child may be made ahead of its job: `open`, then `assign` once there is one. Its caller gets an answer by the job's
    expiry at the latest; the child itself stays in its zygote's care until the zygote has reported its end.

    Attributes:
        job: whose attempt it is; None before `assign`, and again after the job got its answer.
        is_busy: whether it ever had a job.
        number: names the child in the packets.
        scratch: its working directory.
        memory: the share of the memory budget that it holds.
        next_check: when `check` wants to be called (time.monotonic).
    """

    def __init__(
        self, number: int, scratch: Scratch, limits: Limits, reactor: Reactor, events: ExecutionEvents
    ) -> None:
        self.job: Job | None = None
        self.is_busy = False
        self.number = number
        self.scratch = scratch
        self.memory: int | None = None
        self._limits = limits
        self._reactor = reactor
        self._events = events
        self._dispatched = time.monotonic()
        self._deadline = float("inf")
        self._zygote_owes_since: float | None = self._dispatched
        self.next_check = self._dispatched + CHECK_SECONDS
        self._killed_for: Status | None = None
        self._pidfd: int | None = None
        self._program = self._orders = self._report = -1
        self._childs_ends: list[int] = []
        self._open: dict[int, HeadTailCapture] = {}
        self._stdout = HeadTailCapture(limits.output_head_bytes, limits.output_tail_bytes)
        self._stderr = HeadTailCapture(limits.output_head_bytes, limits.output_tail_bytes)

    def open(self) -> None:
        """Makes the pipes and the program's file.

        Raises:
            OSError: out of descriptors.
        """
        try:
            self._program = os.memfd_create("program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            orders, self._orders = one_way_pipe(os.O_CLOEXEC)
            self._childs_ends = [orders]
            for capture in (self._stdout, self._stderr):
                read, write = one_way_pipe(os.O_CLOEXEC)
                self._childs_ends.append(write)
                os.set_blocking(read, False)
                self._open[read] = capture
                self._reactor.watch(read, self._reader(read, capture))
            self._report, report = one_way_pipe(os.O_CLOEXEC | os.O_NONBLOCK)
            self._childs_ends.append(report)
        except OSError:
            self.release()
            raise

    def hand_over(self) -> tuple[int, ...]:
        """The descriptors that a child needs, as `wire.CHILD_DESCRIPTORS` lists them; `forget_childs_ends` after sending."""
        return (self._program, *self._childs_ends, *self.scratch.descriptors())

    def forget_childs_ends(self) -> None:
        """Closes what only the child must hold, lest its end goes unnoticed. Harmless when repeated."""
        while self._childs_ends:
            os.close(self._childs_ends.pop())

    def assign(self, job: Job) -> None:
        """Gives the child its program; it starts as soon as the child is ready.

        Raises:
            OSError: no space for the program or its files.
        """
        self.job = job
        self.is_busy = True
        self._dispatched = time.monotonic()
        job.dispatched = job.dispatched or self._dispatched
        if self.scratch.is_open or not job.request.files:
            self._order(job)
        if self._pidfd is not None:
            self._deadline = self._dispatched + job.timeout
            self._check_at(min(self._deadline, self._dispatched + WATCH_SECONDS))

    def take_scratch(self, directory: int) -> None:
        """The child has mounted its directory; files that waited for it can be written, and then the program can start."""
        self.scratch.descriptor = directory
        if self.job is not None and self.job.request.files:
            try:
                self._order(self.job)
            except OSError as error:
                self._answer_early(f"no room for the program: {error}")

    def _order(self, job: Job) -> None:
        program = job.request.code.encode("utf-8", "surrogatepass")
        write_files(self.scratch.descriptor, job.request.files)
        _fill(self._program, program, job.request.stdin)
        order = Order(1, len(program), job.seed, self._limits.computing_seconds(job.timeout), last=True)
        os.write(self._orders, order.pack())

    def started(self, pidfd: int) -> None:
        """The child exists; from here its program's time counts."""
        self._pidfd = pidfd
        self._zygote_owes_since = None
        if self._killed_for is not None:
            self.kill(self._killed_for)
            return
        if self.job is None:
            self.next_check = float("inf")
            return
        now = time.monotonic()
        self._deadline = now + self.job.timeout
        self._check_at(min(self._deadline, now + WATCH_SECONDS))

    def kill(self, reason: Status) -> None:
        """Ends the program; the first reason stands. Before the child is known, it dies as soon as it is."""
        if self._killed_for is None:
            self._killed_for = reason
        if self._pidfd is not None:
            _kill(self._pidfd)
        if self._zygote_owes_since is None:
            self._wait_for_zygote()

    def check(self, zygote_is_stopped: Callable[[], bool]) -> str | None:
        """Enforces the deadlines. Returns why the zygote must be given up, if it must."""
        now = time.monotonic()
        if self.job is not None and now >= self.job.expiry:
            self._answer_early("the worker process did not tell the program's end in time")
        if self._zygote_owes_since is None:
            if self._pidfd is not None and _is_dead(self._pidfd):
                self._wait_for_zygote()
            elif now >= self._deadline:
                self.kill(Status.TIMEOUT)
            elif self._pidfd is not None and count_threads(self._pidfd) > self._limits.threads:
                self.kill(Status.MEMORY_LIMIT)
            else:
                self._check_at(min(self._deadline, now + WATCH_SECONDS))
            return None
        if zygote_is_stopped():
            return "the worker process is stopped"
        if now - self._zygote_owes_since > PATIENCE_SECONDS:
            return f"the worker process has not answered for {PATIENCE_SECONDS:g} s"
        self._check_at(now + CHECK_SECONDS)
        return None

    def ended(self, ended: Ended, isolation: Isolation | None) -> None:
        """The child is dead and reaped: what it wrote is complete."""
        if self.job is None:
            self.release()
        else:
            job, result = self.job, self._conclude(ended, isolation)
            self.job = None
            self._events.answer(job, result)
        self._events.vacate(self, unharmed=True)

    def lost(self, reason: str) -> None:
        """Nobody will ever say how the child ended; if it lives, it dies now."""
        if self.job is not None:
            self._answer_early(reason)
        self.release()
        self._events.vacate(self, unharmed=False)

    def _conclude(self, ended: Ended, isolation: Isolation | None) -> Result:
        assert self.job is not None
        for read, capture in tuple(self._open.items()):
            for _ in range(_LAST_READS):
                if not self._read(read, capture):
                    break
        report, order_was_read = self._read_report(), _is_empty(self._orders)
        self.release()
        if self._killed_for is None and not (report.startswith(REPORT_READY) and order_was_read):
            reason = (
                f"the program's process ended before the program began: {report.decode('utf-8', 'replace')} {ended}"
            )
            return self.job.unrun(Status.SANDBOX_ERROR, reason, kind="SandboxError")
        claim = read_report(report[len(REPORT_READY) :])
        cpu_limit = self._limits.computing_seconds(self.job.timeout)
        verdict = judge(self._killed_for, ended, claim, cpu_limit, self._limits.memory_bytes)
        spoken = claim if claim is not None and claim.status is verdict.status else None
        fetched, refused = fetch_files(self.scratch.descriptor, self.job.request.fetch, self._limits.transfer_bytes)
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
            files=fetched,
            files_refused=refused,
            isolation=isolation,
            seed=self.job.seed,
            attempt=self.job.attempt,
        )

    def _answer_early(self, reason: str) -> None:
        """Answers the caller before the program's end is known, and kills it.

        What we had already decided (a timeout, a cancellation) stays true and keeps the output; the rest is a fault of ours.
        """
        assert self.job is not None
        job, decided = self.job, self._killed_for
        self.kill(Status.CANCELLED)
        self.job = None
        result = job.unrun(decided or Status.SANDBOX_ERROR, reason, kind=None if decided else "SandboxError")
        if decided is not None:
            result = replace(
                result,
                stdout=self._stdout.text(),
                stderr=self._stderr.text(),
                truncated=self._stdout.truncated or self._stderr.truncated,
                wall_ms=1000 * (time.monotonic() - self._dispatched),
                queue_ms=1000 * (self._dispatched - job.submitted),
            )
        self._events.answer(job, result)

    def release(self) -> None:
        """Closes every descriptor, and kills the program if it lives. Harmless when repeated."""
        for read in tuple(self._open):
            self._close_output(read)
        self.forget_childs_ends()
        for descriptor in (self._program, self._orders, self._report):
            if descriptor >= 0:
                os.close(descriptor)
        self._program = self._orders = self._report = -1
        if self._pidfd is not None:
            _kill(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _wait_for_zygote(self) -> None:
        self._zygote_owes_since = time.monotonic()
        self._check_at(self._zygote_owes_since + CHECK_SECONDS)

    def _check_at(self, moment: float) -> None:
        self.next_check = moment if self.job is None else min(moment, self.job.expiry)

    def _reader(self, read: int, capture: HeadTailCapture) -> Callable[[], None]:
        def on_readable() -> None:
            self._read(read, capture)
            if self._stdout.total + self._stderr.total > self._limits.output_bytes and self._killed_for is None:
                self.kill(Status.OUTPUT_LIMIT)
            if not self._open and self._zygote_owes_since is None:
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


def _fill(descriptor: int, *contents: bytes) -> None:
    """Writes contents into an empty file in memory, which nobody can change any more from then on."""
    for content in contents:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)


def _is_empty(pipe: int) -> bool:
    """Whether everything that was written into a pipe has been read."""
    unread = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, unread)
    return unread[0] == 0


def _is_dead(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return  # reaped already
