"""Runs jobs on zygotes: one thread that holds all programs, outputs and deadlines.

Invariants: every submitted job is delivered exactly one result; a program's descriptors are released and its scratch
directory is out of use before its result is delivered; nothing here waits for a child or a zygote without a deadline.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from sandbox import isolation
from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.execution import Execution
from sandbox.isolation import ProbeTargets
from sandbox.job import Job
from sandbox.reactor import Reactor
from sandbox.result import Isolation, Level, Result, Status
from sandbox.scratch import ScratchSpace
from sandbox.wire import Ended, Hello, Message, Refused, Started
from sandbox.zygote import State, Zygote, ZygoteOptions

_log = logging.getLogger(__name__)
_MAX_START_FAILURES = 3
"""After so many in a row, jobs fail instead of waiting; the next job tries to start a worker again."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a supervisor is set up.

    Attributes:
        workers: zygotes.
        children_per_worker: programs that one zygote runs at a time.
        min_level: below it nothing runs.
        allow_insecure: whether level 0 may run at all.
        zygote: what each zygote is started with.
    """

    workers: int
    children_per_worker: int
    min_level: Level
    allow_insecure: bool
    zygote: ZygoteOptions


class Supervisor:
    """Owns the zygotes. `start`, `submit`, `cancel` and `stop` are for any thread; the rest is the supervisor's own.

    Raises:
        OSError: no scratch directory, no descriptors.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._scratch = ScratchSpace()
        try:
            self._targets = ProbeTargets.make(self._scratch.path)
        except OSError:
            self._scratch.close()
            raise
        self._reactor = Reactor()
        self._queue: deque[Job] = deque()
        self._zygotes: list[Zygote] = []
        self._claims: dict[Zygote, Isolation] = {}
        self._isolation: dict[Zygote, Isolation] = {}
        self._numbers = itertools.count(1)
        self._start_failures = 0
        self._last_failure = ""
        self._opened: Future[Isolation] = Future()
        self._stopping = False
        self._lock = threading.RLock()
        self._accepting = False
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="sandbox-supervisor", daemon=True)

    def start(self) -> Isolation:
        """Starts the zygotes and waits until each is ready; returns the weakest isolation among them.

        Raises:
            SandboxUnavailable: one cannot be started, or gives less isolation than asked for.
        """
        self._thread.start()
        try:
            weakest = self._opened.result()
        except BaseException:
            self.stop()
            raise
        self._accepting = True
        return weakest

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queues jobs, in order.

        Raises:
            SandboxError: it is stopped.
        """
        batch = tuple(jobs)
        with self._lock:
            if not self._accepting:
                raise SandboxError("the sandbox is closed")
            self._reactor.call(lambda: self._enqueue(batch))

    def cancel(self, job: Job) -> None:
        """Ends a job wherever it is; a job that is done already stays done."""
        with self._lock:
            if self._accepting:
                self._reactor.call(lambda: self._cancel(job))

    def stop(self) -> None:
        """Ends every program and zygote, delivers `cancelled` to who still waits, and waits for all of that."""
        with self._lock:
            self._accepting = False
            if not self._closed:
                self._reactor.call(self._order_stop)
        if threading.current_thread() is not self._thread:  # which may collect the last reference to a sandbox
            self._thread.join()

    # The rest runs on the supervisor's thread.

    def _serve(self) -> None:
        try:
            self._fill_up()
            while not self._stopping:
                self._reactor.turn(self._seconds_to_next_check())
                self._check_deadlines()
                self._dispatch()
        except Exception as error:  # noqa: BLE001
            # Whatever happened, nobody may wait for ever: shutting down delivers to everyone.
            _log.exception("the sandbox supervisor failed")
            self._last_failure = f"the sandbox supervisor failed: {error!r}"
        finally:
            self._shut_down()

    def _order_stop(self) -> None:
        self._stopping = True

    def _enqueue(self, jobs: tuple[Job, ...]) -> None:
        self._queue.extend(jobs)
        if self._start_failures >= _MAX_START_FAILURES:
            self._start_failures = _MAX_START_FAILURES - 1
            self._fill_up()

    def _cancel(self, job: Job) -> None:
        if job in self._queue:
            self._queue.remove(job)
            job.deliver(job.unrun(Status.CANCELLED, "cancelled while it waited for its turn"))
            return
        for zygote in self._zygotes:
            for execution in zygote.running.values():
                if execution.job is job:
                    execution.kill(Status.CANCELLED)

    def _fill_up(self) -> None:
        """Starts zygotes until there are as many as asked for."""
        while len(self._zygotes) < self._options.workers and self._start_failures < _MAX_START_FAILURES:
            try:
                zygote = Zygote(self._options.zygote)
            except OSError as error:
                self._note_start_failure(f"a worker process cannot be started: {error}")
                continue
            self._zygotes.append(zygote)
            self._reactor.watch(zygote.fileno(), lambda zygote=zygote: self._on_messages(zygote))  # type: ignore[misc]
        if not self._zygotes:
            self._fail_queue()

    def _note_start_failure(self, reason: str) -> None:
        self._start_failures += 1
        self._last_failure = reason
        if not self._opened.done():
            self._opened.set_exception(SandboxUnavailable(reason))
            self._stopping = True
        _log.warning("sandbox: %s", reason)

    def _fail_queue(self) -> None:
        while self._queue:
            job = self._queue.popleft()
            job.deliver(job.unrun(Status.SANDBOX_ERROR, self._last_failure, kind="SandboxError"))

    def _on_messages(self, zygote: Zygote) -> None:
        while zygote.state is not State.GONE:
            try:
                received = zygote.receive()
            except EOFError:
                self._lose(zygote, "the worker process ended")
                return
            except ValueError as error:
                self._lose(zygote, f"the worker process sent nonsense: {error}")
                return
            if received is None:
                return
            self._on_message(zygote, *received)

    def _on_message(self, zygote: Zygote, message: Message, descriptors: list[int]) -> None:
        match message:
            case Hello():
                self._probe(zygote, message)
            case Started():
                execution = zygote.running.get(message.execution)
                if execution is not None and descriptors:
                    execution.started(descriptors.pop())
            case Ended():
                execution = zygote.running.pop(message.execution, None)
                if execution is not None:
                    self._settle(execution, execution.conclude(message, self._isolation.get(zygote)))
            case Refused():
                execution = zygote.running.pop(message.execution, None)
                if execution is not None:
                    self._fault(execution, f"no process for the program: {os.strerror(message.errno)}")
        for descriptor in descriptors:
            os.close(descriptor)

    def _probe(self, zygote: Zygote, hello: Hello) -> None:
        """Lets the escape probes loose in a zygote that has just said hello."""
        fields = json.loads(hello.json)
        if "error" in fields:
            self._lose(zygote, f"the preload failed with {fields['error']}; install the library or change `preload`")
            return
        self._claims[zygote] = isolation.claimed(fields)
        zygote.state = State.PROBED
        request = self._targets.request()
        assert request.timeout is not None
        # Its second attempt already: a zygote that fails its probes is replaced, not asked again.
        job = Job(request, request.timeout, 0, lambda result: self._on_probed(zygote, result), attempt=2)
        self._send(zygote, job)

    def _on_probed(self, zygote: Zygote, result: Result) -> None:
        if zygote.state is not State.PROBED:
            return
        granted = isolation.granted(self._claims[zygote], result)
        refusal = isolation.refusal(granted, self._options.min_level, self._options.allow_insecure)
        if refusal is not None:
            self._lose(zygote, refusal)
            return
        self._isolation[zygote] = granted
        zygote.state = State.READY
        self._start_failures = 0
        if len(self._isolation) == self._options.workers and not self._opened.done():
            self._opened.set_result(min(self._isolation.values(), key=lambda each: each.level))

    def _dispatch(self) -> None:
        while self._queue:
            ready = [zygote for zygote in self._zygotes if zygote.state is State.READY]
            zygote = min(ready, key=lambda each: len(each.running), default=None)
            if zygote is None or len(zygote.running) >= self._options.children_per_worker:
                return
            self._send(zygote, self._queue.popleft())

    def _send(self, zygote: Zygote, job: Job) -> None:
        try:
            scratch = self._scratch.acquire()
        except OSError as error:
            self._retry_or_deliver(
                job, job.unrun(Status.SANDBOX_ERROR, f"no scratch directory: {error}", "SandboxError")
            )
            return
        number = next(self._numbers)
        execution = Execution(job, number, scratch, self._options.zygote.limits, self._reactor)
        try:
            descriptors = execution.open()
        except OSError as error:
            self._fault(execution, f"no descriptors for the program: {error}")
            return
        zygote.running[number] = execution
        try:
            zygote.send(execution.order.pack(), (*descriptors, scratch.descriptor))
        except OSError as error:
            self._lose(zygote, f"the worker process takes no order: {error}")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _settle(self, execution: Execution, outcome: Result | str) -> None:
        if isinstance(outcome, str):
            self._fault(execution, outcome)
            return
        self._scratch.release(execution.scratch)
        execution.job.deliver(outcome)

    def _fault(self, execution: Execution, reason: str) -> None:
        """Gives up an execution that the sandbox itself failed."""
        result = execution.abandon(reason)
        self._scratch.discard(execution.scratch)
        self._retry_or_deliver(execution.job, result)

    def _retry_or_deliver(self, job: Job, result: Result) -> None:
        """A failure of our own is tried once more before the caller hears of it."""
        if result.status is Status.SANDBOX_ERROR and job.attempt == 1 and not self._stopping:
            job.attempt = 2
            self._queue.appendleft(job)
        else:
            job.deliver(result)

    def _lose(self, zygote: Zygote, reason: str) -> None:
        """Gives up a zygote with everything that runs in it, and starts another."""
        if zygote.state is State.GONE:
            return
        was_ready = zygote.state is State.READY
        self._reactor.unwatch(zygote.fileno())
        reason = f"{reason} ({zygote.end(kill=True)})"
        self._zygotes.remove(zygote)
        self._claims.pop(zygote, None)
        self._isolation.pop(zygote, None)
        if was_ready:
            _log.warning("sandbox: %s; starting another", reason)
        else:
            self._note_start_failure(reason)
        for execution in tuple(zygote.running.values()):
            self._fault(execution, reason)
        zygote.running.clear()
        if not self._stopping:
            self._fill_up()

    def _seconds_to_next_check(self) -> float | None:
        checks = [execution.next_check for zygote in self._zygotes for execution in zygote.running.values()]
        checks += [zygote.start_deadline for zygote in self._zygotes if zygote.state is State.STARTING]
        return max(0.0, min(checks) - time.monotonic()) if checks else None

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for zygote in tuple(self._zygotes):
            if zygote.state is State.STARTING and now >= zygote.start_deadline:
                self._lose(zygote, "the worker process did not finish importing its libraries")
                continue
            for execution in tuple(zygote.running.values()):
                verdict = execution.check(zygote.is_stopped) if now >= execution.next_check else None
                if verdict is not None:
                    self._lose(zygote, verdict)
                    break

    def _shut_down(self) -> None:
        with self._lock:
            self._accepting = False
        self._stopping = True
        reason = self._last_failure or "the sandbox was closed"
        if not self._opened.done():
            self._opened.set_exception(SandboxUnavailable(reason))
        executions = [execution for zygote in self._zygotes for execution in zygote.running.values()]
        for execution in executions:
            execution.kill(Status.CANCELLED)
        for zygote in self._zygotes:
            self._reactor.unwatch(zygote.fileno())
            zygote.end(kill=False)
        for execution in executions:
            result = execution.abandon(reason)
            self._scratch.discard(execution.scratch)
            execution.job.deliver(result)
        self._reactor.turn(0)  # takes in what was submitted before `_accepting` fell
        for job in self._queue:
            job.deliver(job.unrun(Status.CANCELLED, reason))
        self._targets.close()
        self._scratch.close()
        with self._lock:
            self._closed = True
            self._reactor.close()
