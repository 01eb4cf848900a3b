"""What a session does: its steps, the replay of what its state needs, its end. As flows, for threads and asyncio alike."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.job import Job
from sandbox.limits import Limits
from sandbox.request import Request
from sandbox.result import Result, SessionState, Status
from sandbox.sessions.child import SessionChild
from sandbox.sessions.exchange import GRACE_SECONDS, Exchange
from sandbox.sessions.history import Cell, History
from sandbox.sessions.lease import Lease
from sandbox.sessions.options import SessionOptions
from sandbox.sessions.waiting import Flow, Wait
from sandbox.supervisor import Supervisor
from sandbox.threads import WATCH_SECONDS
from sandbox.transfer import fetch_files
from sandbox.verdict import Verdict, judge
from sandbox.wire import Order

_KILL_SECONDS = 0.3
"""How much of a call's time is kept for the end of a process that has to be killed."""


class _NoProcess(Exception):
    """The sandbox's own fault: there is no process to run in, or it was lost."""


class _Deviated(Exception):
    """The steps that made the state do not make it again: the programs' doing, not the sandbox's.

    Attributes:
        status: how the step ended that was accepted before and would not be now.
    """

    def __init__(self, status: Status, what: str) -> None:
        super().__init__(f"the state could not be rebuilt: {what}")
        self.status = status


class _Ending(NamedTuple):
    """How a step ended, whether its process goes on, and how much memory that has had (KiB)."""

    verdict: Verdict
    is_alive: bool
    max_rss_kb: int


class Conversation:
    """The state of a session and what may be done to it. `close` is for any thread, the rest for one at a time.

    Invariants: the process's namespace is what the history's cells made, or `_is_stale` says that they must run first; a
    step changes the history only when it returns a result.
    """

    def __init__(self, supervisor: Supervisor, limits: Limits, options: SessionOptions) -> None:
        self._supervisor = supervisor
        self._limits = limits
        self._options = options
        self._rolls_back = options.on_error == "rollback"
        self._seed = Request("", seed=options.seed).drawn_seed()
        max_steps = options.max_replayed_steps if self._rolls_back else 0
        self._history = History(max_steps, options.max_replay_seconds)
        self.lease = Lease(supervisor, limits, options.files)
        self._used = (0, 0)
        self._is_stale = False
        self._next_count = 0.0
        self._mutex = threading.RLock()
        self._is_open = self._is_closed = self._is_busy = False
        self._owner = os.getpid()

    def open(self) -> Flow[None]:
        """Waits for a place and a process.

        Raises:
            SandboxError: it was opened before, or the sandbox is closed.
            SandboxUnavailable: there was none in time.
        """
        with self._mutex:
            if self._is_open or self._is_closed:
                raise SandboxError("a session can be opened only once: ask the sandbox for another")
            self._is_open = self._is_busy = True
        is_done = False
        try:
            self.lease.renew()
            yield from self._await_process(time.monotonic() + self._options.open_timeout)
            is_done = True
        except (_NoProcess, OSError) as error:
            raise SandboxUnavailable(
                f"no process for a session: {error}; close sessions that nobody needs, raise max_sessions or the memory "
                "budget, or wait longer (open_timeout)"
            ) from error
        finally:
            self._is_closed |= not is_done
            self._end()

    def step(self, code: str, timeout: float | None, fetch: Sequence[str]) -> Flow[Result]:
        """Runs a program in the session's namespace.

        Raises:
            TypeError, ValueError: bad arguments.
            SandboxError: the session or the sandbox is not open, or another step runs.
        """
        request = Request(code, timeout, fetch=fetch)
        if timeout is None:
            timeout = self._options.timeout or self._limits.wall_seconds
        self._begin()
        is_done = False
        try:
            cell = self._history.next(code.encode("utf-8", "surrogatepass"), timeout)
            job = Job(request, timeout, self._seed, deliver=lambda _: None)
            refusal = job.refusal(self._limits.program_bytes)
            if refusal is not None:
                result = replace(refusal, state=SessionState.KEPT)
            else:
                result = yield from self._run(job, cell)
            is_done = True
            return result
        finally:
            if not is_done:
                self._give_state_up()
            self._end()

    def reset(self) -> None:
        """Empties the namespace, as if the session had just been opened.

        Raises:
            SandboxError: the session or the sandbox is not open, or a step runs.
        """
        self._begin()
        try:
            self._history.clear()
            self._give_state_up()
        finally:
            self._end()

    def close(self) -> None:
        """Ends the process, now; a step that runs is cancelled. Harmless when repeated."""
        with self._mutex:
            is_busy, self._is_closed = self._is_busy, True
            child = self.lease.child
        if not is_busy:
            self.lease.end()
        elif child is not None:
            child.wake()

    def _begin(self) -> None:
        if os.getpid() != self._owner:
            raise SandboxError("the session was opened in another process: open one here")
        with self._mutex:
            if self._is_closed:
                raise SandboxError("the session is closed")
            if not self._is_open:
                raise SandboxError("the session is not open: use it in a `with` or `async with` block")
            if not self._supervisor.is_open:
                raise SandboxError("the sandbox is closed")
            if self._is_busy:
                raise SandboxError("a step of this session runs already: one at a time, or open another session")
            self._is_busy = True

    def _end(self) -> None:
        with self._mutex:
            self._is_busy = False
            is_closed = self._is_closed
        if is_closed:
            self.lease.end()

    def _run(self, job: Job, cell: Cell) -> Flow[Result]:
        """Runs a step; once more if the sandbox itself failed, the state can be made again and the call's time is not over."""
        limit = job.submitted + self._options.max_replay_seconds
        while True:
            try:
                yield from self._prepare(limit, job.expiry)
                dispatched = time.monotonic()
                job.dispatched = job.dispatched or dispatched
                limit = job.expiry
                return (yield from self._attempt(job, cell, dispatched))
            except _Deviated as deviation:
                self._history.clear()
                self._give_state_up()
                return _unbuilt(job, deviation)
            except (_NoProcess, SandboxError, OSError) as fault:
                may_retry = job.attempt == 1 and self._history.is_replayable and time.monotonic() < limit
                state = self._give_state_up()
                if self._is_closed or not self._supervisor.is_open:
                    return _unrun(job, Status.CANCELLED, "the session was closed", SessionState.LOST)
                if not may_retry:
                    return _unrun(job, Status.SANDBOX_ERROR, str(fault), state)
                job.attempt = 2

    def _prepare(self, process_until: float, expiry: float) -> Flow[None]:
        """Sees that there is a process whose namespace is the session's state.

        Args:
            process_until: when there has to be a process.
            expiry: when the call is over, whatever the replay could still take.

        Raises:
            _NoProcess: the sandbox's fault.
            _Deviated: the programs'. Waiting for a process is none of their time.
        """
        yield from self._await_process(process_until)
        if not self._is_stale:
            return
        until = min(expiry, time.monotonic() + self._options.max_replay_seconds)
        latest = until - _KILL_SECONDS
        for cell in self._history.cells:
            deadline = time.monotonic() + cell.timeout
            exchange = yield from self._exchange(cell, min(deadline, latest), until, grace=0.0)
            status = self._ending(cell, exchange).verdict.status
            if status is Status.CANCELLED:
                raise _NoProcess("the session was closed")
            if status is Status.TIMEOUT and latest < deadline:
                if until == expiry:
                    raise _NoProcess("a second attempt did not fit into the call's time")
                raise _Deviated(status, "the steps that made it could not be replayed in time")
            if status is not Status.OK:
                raise _Deviated(status, f"step {cell.number} ended with {status} when it was replayed")
        self._is_stale = False

    def _await_process(self, until: float) -> Flow[None]:
        child = self.lease.child or self._renew()
        while not child.is_ready:
            if self._is_closed:
                raise _NoProcess("the session was closed")
            if child.is_gone:
                raise _NoProcess(child.loss or f"the process ended before it was ready: {child.end}")
            if time.monotonic() >= until:
                raise _NoProcess(f"still waiting for {child.waits_for}")
            child.take_ready((yield Wait(child.poll, until)))

    def _attempt(self, job: Job, cell: Cell, dispatched: float) -> Flow[Result]:
        child = self.lease.child
        assert child is not None
        deadline = min(dispatched + cell.timeout, job.expiry - _KILL_SECONDS)
        grace = 0.0 if self._rolls_back else GRACE_SECONDS
        exchange = yield from self._exchange(cell, deadline, job.expiry, grace)
        wall = time.monotonic() - dispatched
        used_before = self._used
        ending = self._ending(cell, exchange)
        verdict = ending.verdict
        if verdict.status is Status.TIMEOUT and deadline < dispatched + cell.timeout:
            raise _NoProcess("a second attempt did not fit into the call's time")
        fetched, refused = self._fetch(job.request.fetch, child if ending.is_alive else None)
        spoken = exchange.report.claim if exchange.report and exchange.report.claim.status is verdict.status else None
        return Result(
            status=verdict.status,
            stdout=exchange.stdout.text(),
            stderr=exchange.stderr.text(),
            truncated=exchange.stdout.truncated or exchange.stderr.truncated,
            exc_type=spoken.exc_type if spoken else None,
            exc_message=spoken.exc_message if spoken else exchange.fault,
            traceback=spoken.traceback if spoken else "",
            exit_code=verdict.exit_code,
            signal=verdict.signal,
            wall_ms=1000 * wall,
            cpu_user_ms=max(0, self._used[0] - used_before[0]) / 1000,
            cpu_sys_ms=max(0, self._used[1] - used_before[1]) / 1000,
            max_rss_kb=ending.max_rss_kb,
            queue_ms=1000 * (dispatched - job.submitted),
            files=fetched,
            files_refused=refused,
            isolation=child.isolation,
            seed=self._seed,
            attempt=job.attempt,
            state=self._settle(cell, ending, wall),
        )

    def _exchange(self, cell: Cell, deadline: float, expiry: float, grace: float) -> Flow[Exchange]:
        """Has the process run a program, and goes along until it has ended, one way or another, or until `expiry`."""
        child = self.lease.child
        assert child is not None
        exchange = Exchange(cell.number, self._limits, deadline, grace)
        order = Order(
            cell.number, len(cell.program), self._seed, self._limits.computing_seconds(cell.timeout), last=False
        )
        child.give(order, cell.program)
        while not child.is_gone:
            child.take((yield Wait(child.poll, min(exchange.moment, expiry, self._next_count))), exchange)
            now = time.monotonic()
            if now >= self._next_count:
                self._next_count = now + WATCH_SECONDS
                if child.has_more_threads_than(self._limits.threads):
                    exchange.give_up(Status.MEMORY_LIMIT)
            if self._is_closed:
                exchange.give_up(Status.CANCELLED)
            if exchange.report is not None:
                child.suspend()
                break
            number = signal.SIGKILL if now >= expiry else exchange.tick(now)
            if number is not None:
                child.send_signal(number)
            if number is signal.SIGKILL:
                self.lease.expect_end(child)
            if now >= expiry:
                break
        child.take_rest(exchange)
        return exchange

    def _ending(self, cell: Cell, exchange: Exchange) -> _Ending:
        """Judges a step that is over.

        Raises:
            _NoProcess: nobody knows how it ended.
        """
        child = self.lease.child
        assert child is not None
        used_before = self._used
        if exchange.report is not None:
            report = exchange.report
            self._used = (report.user_us, report.system_us)
            status = exchange.stopped_for or report.claim.status
            return _Ending(Verdict(status, report.exit_code, None), is_alive=True, max_rss_kb=report.max_rss_kb)
        killed_for = exchange.stopped_for or (Status.CRASH if exchange.fault else None)
        if child.end is None:
            if killed_for is None or killed_for is Status.CANCELLED:
                raise _NoProcess(child.loss or "the worker process did not tell the process's end in time")
            return _Ending(Verdict(killed_for, None, signal.SIGKILL), is_alive=False, max_rss_kb=0)
        self._used = (child.end.user_us, child.end.system_us)
        cpu_limit = sum(used_before) // 1_000_000 + self._limits.computing_seconds(cell.timeout)
        verdict = judge(killed_for, child.end, None, cpu_limit, self._limits.memory_bytes)
        if verdict.status is Status.OK:
            verdict = replace(verdict, status=Status.EXIT)
        return _Ending(verdict, is_alive=False, max_rss_kb=child.end.max_rss_kb)

    def _settle(self, cell: Cell, ending: _Ending, seconds: float) -> SessionState:
        """Draws the consequences of a step's end for the state."""
        if ending.is_alive:
            if not self._rolls_back or ending.verdict.status is Status.OK:
                self._history.accept(cell, seconds)
                return SessionState.KEPT
            if ending.verdict.status is Status.SYNTAX_ERROR:
                return SessionState.KEPT  # nothing of it has run
        return self._give_state_up()

    def _give_state_up(self) -> SessionState:
        """Replaces the process; what made the state before this step runs again before the next, if it can."""
        can_rebuild = self._rolls_back and self._history.is_replayable and not self._is_closed
        if not can_rebuild:
            self._history.clear()
        if not self._is_closed:
            with contextlib.suppress(OSError, SandboxError):  # the next step asks again, and says so if that fails too
                self._renew()
        return SessionState.REBUILT if can_rebuild else SessionState.LOST

    def _renew(self) -> SessionChild:
        self._used = (0, 0)
        self._is_stale = True
        return self.lease.renew()

    def _fetch(self, names: Sequence[str], child: SessionChild | None) -> tuple[dict[str, bytes], dict[str, str]]:
        if not names:
            return {}, {}
        directory = child.borrow_scratch() if child else None
        if directory is None:
            return {}, dict.fromkeys(names, "the process has ended, and its directory with it")
        try:
            return fetch_files(directory, names, self._limits.transfer_bytes)
        finally:
            os.close(directory)


def _unbuilt(job: Job, deviation: _Deviated) -> Result:
    """The result of a step whose namespace could not be made again; it ends as what was to make it did."""
    unrun = job.unrun(deviation.status, str(deviation), kind="StateNotRebuilt")
    return replace(unrun, stderr=f"StateNotRebuilt: {deviation}\n", state=SessionState.LOST)


def _unrun(job: Job, status: Status, reason: str, state: SessionState) -> Result:
    kind = "SandboxError" if status is Status.SANDBOX_ERROR else None
    return replace(job.unrun(status, reason, kind), state=state)
