"""Runs jobs on zygotes: one thread that holds all programs, outputs and deadlines.

Invariants: every submitted job is delivered exactly one result; a program's descriptors are released and its scratch
directory is out of use before its result is delivered; nothing here waits for a child or a zygote without a deadline.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sandbox.errors import SandboxError
from sandbox.execution import Execution
from sandbox.isolation import ProbeTargets
from sandbox.job import Job
from sandbox.memory import MemoryBudget
from sandbox.reactor import Reactor
from sandbox.request import Request
from sandbox.result import Isolation, Result, Status
from sandbox.scratch import Scratch, ScratchSpace
from sandbox.sessions.child import SessionChild
from sandbox.sessions.places import Place, SessionPlaces
from sandbox.wire import Fork
from sandbox.zygote import State, Zygote
from sandbox.zygote_pool import PoolOptions, ZygotePool

_log = logging.getLogger(__name__)
_MEMORY_POLL_SECONDS = 0.01
"""How often to ask for memory that other sandboxes of this machine hold."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a supervisor is set up.

    Attributes:
        pool: the zygotes.
        children_per_worker: programs that one zygote runs at a time.
        spare_children: children that each zygote keeps ready for the next programs.
        memory_budget: bytes that the programs of all sandboxes on this machine may be promised together.
        max_sessions: sessions that may be open at a time.
    """

    pool: PoolOptions
    children_per_worker: int
    spare_children: int
    memory_budget: int
    max_sessions: int


class Supervisor:
    """Runs jobs. `start`, `submit`, `cancel`, `call`, `seat` and `stop` are for any thread; the rest is the supervisor's own.

    Attributes:
        sessions: which sessions may have a process; through `call` only.

    Raises:
        OSError: no scratch directory, no descriptors.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._limits = options.pool.zygote.limits
        self._memory = MemoryBudget(options.memory_budget)
        self.sessions = SessionPlaces(options.max_sessions, self._memory, self._limits.share_bytes)
        self._scratch = ScratchSpace()
        try:
            self._targets = ProbeTargets.make(self._scratch.path)
        except OSError:
            self._scratch.close()
            raise
        self._reactor = Reactor()
        self._pool = ZygotePool(options.pool, self._reactor, self._targets, self)
        self._queue: deque[Job] = deque()
        self._retries: deque[Job] = deque()
        self._spares: dict[Zygote, deque[Execution]] = {}
        self._waits_for_memory = False
        self._numbers = itertools.count(1)
        self._failure = ""
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
            weakest = self._pool.opened.result()
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

    @property
    def is_open(self) -> bool:
        """Whether it takes jobs and calls."""
        return self._accepting

    def call(self, action: Callable[[], None]) -> None:
        """Has the supervisor's thread call `action` soon.

        Raises:
            SandboxError: it is stopped.
        """
        with self._lock:
            if not self._accepting:
                raise SandboxError("the sandbox is closed")
            self._reactor.call(action)

    def seat(self, place: Place, child: SessionChild) -> None:
        """Queues a session for a process.

        Raises:
            SandboxError: it is stopped.
        """
        self.call(lambda: self._queue_session(place, child))

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
            self._pool.ensure()
            while not self._stopping:
                self._reactor.turn(self._seconds_to_next_check())
                self._check_deadlines()
                self._dispatch()
                self._seat_sessions()
                self._make_spares()
        except Exception as error:  # noqa: BLE001
            # Whatever happened, nobody may wait for ever: shutting down delivers to everyone.
            _log.exception("the sandbox supervisor failed")
            self._failure = f"the sandbox supervisor failed: {error!r}"
        finally:
            self._shut_down()

    def _order_stop(self) -> None:
        self._stopping = True

    def _enqueue(self, jobs: tuple[Job, ...]) -> None:
        self._queue.extend(jobs)
        self._pool.ensure()

    def _queue_session(self, place: Place, child: SessionChild) -> None:
        self.sessions.ask(place, child)
        self._pool.ensure()

    def _cancel(self, job: Job) -> None:
        for queue in (self._queue, self._retries):
            if job in queue:
                queue.remove(job)
                job.deliver(job.unrun(Status.CANCELLED, "cancelled while it waited for its turn"))
                return
        for zygote in self._pool:
            for occupant in zygote.running.values():
                if isinstance(occupant, Execution) and occupant.job is job:
                    occupant.kill(Status.CANCELLED)

    # What the pool tells.

    def probe(self, zygote: Zygote, request: Request, conclude: Callable[[Result], None]) -> None:
        """Runs the escape probes, outside all queues."""
        assert request.timeout is not None
        # Its second attempt already: a zygote that fails its probes is replaced, not asked again.
        self._run(Job(request, request.timeout, 0, conclude, attempt=2), zygote, share=None)

    def out_of_zygotes(self, reason: str) -> None:
        """Fails whoever waits."""
        if not self._pool.opened.done() or self._pool.opened.exception() is not None:
            self._failure = reason
            self._stopping = True
        self.sessions.fail_all(reason)
        for queue in (self._retries, self._queue):
            while queue:
                job = queue.popleft()
                job.deliver(job.unrun(Status.SANDBOX_ERROR, reason, kind="SandboxError"))

    # What executions tell.

    def answer(self, job: Job, result: Result) -> None:
        """Delivers a result, or tries once more if the sandbox itself failed and the call's time is not over."""
        may_retry = job.attempt == 1 and not self._stopping and time.monotonic() < job.expiry
        if result.status is Status.SANDBOX_ERROR and may_retry:
            job.attempt = 2
            self._retries.append(job)
        else:
            job.deliver(result)

    def vacate(self, execution: Execution, unharmed: bool) -> None:
        """Takes back what a child used."""
        if unharmed:
            self._scratch.release(execution.scratch)
        else:
            self._scratch.discard(execution.scratch)
        if execution.memory is not None:
            os.close(execution.memory)
        if not execution.is_busy:
            for spares in self._spares.values():
                if execution in spares:
                    spares.remove(execution)

    # What the processes of sessions tell.

    def vacate_session(self, child: SessionChild) -> None:
        """Takes back what a session's process used; its directory serves nobody else, since the session may still read it."""
        self._scratch.discard(child.scratch)
        self.sessions.vacate(child)

    # Dispatch.

    def _dispatch(self) -> None:
        self._waits_for_memory = False
        while queue := self._retries or self._queue:
            zygote = min(self._pool.ready(), key=_programs, default=None)
            if zygote is None or _programs(zygote) >= self._options.children_per_worker:
                return
            try:
                share = self._memory.reserve(self._limits.share_bytes)
            except OSError as error:
                job = queue.popleft()
                self.answer(job, job.unrun(Status.SANDBOX_ERROR, f"no share of the memory: {error}", "SandboxError"))
                continue
            if share is None:
                self._waits_for_memory = True
                return
            self._run(queue.popleft(), zygote, share)

    def _run(self, job: Job, zygote: Zygote, share: int | None) -> None:
        """Gives a job to a spare child or, if there is none, to a new one; a second attempt trusts nothing made earlier."""
        spares = self._spares.get(zygote)
        spare = spares.popleft() if spares and job.attempt == 1 else None
        try:
            execution = spare or self._new_execution(zygote)
        except OSError as error:
            if share is not None:
                os.close(share)
            self.answer(job, job.unrun(Status.SANDBOX_ERROR, f"no room for the program: {error}", "SandboxError"))
            return
        execution.memory = share
        try:
            execution.assign(job)
        except OSError as error:
            zygote.running.pop(execution.number, None)
            execution.lost(f"no room for the program: {error}")
            return
        if spare is None:
            self._fork(zygote, execution.number, execution, execution.hand_over())

    def _new_execution(self, zygote: Zygote) -> Execution:
        """An execution whose child is still to be forked.

        Raises:
            OSError: no space, or no descriptors.
        """
        scratch = self._new_scratch(zygote)
        execution = Execution(next(self._numbers), scratch, self._limits, self._reactor, self)
        try:
            execution.open()
        except OSError:
            self._scratch.release(scratch)
            raise
        return execution

    def _new_scratch(self, zygote: Zygote) -> Scratch:
        return Scratch() if zygote.makes_scratch else self._scratch.acquire()

    def _seat_sessions(self) -> None:
        """Gives sessions their processes, as far as there are places and memory."""
        while (ready := self._pool.ready()) and (child := self.sessions.next()) is not None:
            zygote = min(ready, key=lambda each: len(each.running))
            try:
                scratch = self._new_scratch(zygote)
                descriptors = child.dispatch(next(self._numbers), scratch, self._pool.isolation(zygote))
            except OSError as error:
                child.lost(f"no room for the session: {error}")
            else:
                self._fork(zygote, child.number, child, descriptors)

    def _fork(self, zygote: Zygote, number: int, child: Execution | SessionChild, descriptors: tuple[int, ...]) -> None:
        zygote.running[number] = child
        try:
            zygote.send(Fork(number).pack(), descriptors)
        except OSError as error:
            self._pool.lose(zygote, f"the worker process takes no order: {error}")
        else:
            child.forget_childs_ends()
            self._pool.count_child(zygote)

    def _make_spares(self) -> None:
        """Keeps children ready, each for one of the next programs, now that everybody who waited is served."""
        for zygote in self._pool.ready() if self._options.spare_children else ():
            spares = self._spares.setdefault(zygote, deque())
            while zygote.state is State.READY and len(spares) < self._options.spare_children:
                try:
                    execution = self._new_execution(zygote)
                except OSError:
                    return  # the next program will say so, if it cannot be run either
                spares.append(execution)
                self._fork(zygote, execution.number, execution, execution.hand_over())
        for zygote in tuple(self._spares):
            if zygote.state is not State.READY:
                for spare in self._spares.pop(zygote):
                    spare.kill(Status.CANCELLED)

    # Deadlines and the end.

    def _seconds_to_next_check(self) -> float | None:
        moment = min((job.expiry for job in self._retries), default=self._pool.next_check())
        moment = min(moment, self._pool.next_check())
        if self._waits_for_memory or self.sessions.waits_for_memory:
            moment = min(moment, time.monotonic() + _MEMORY_POLL_SECONDS)
        return None if moment == float("inf") else max(0.0, moment - time.monotonic())

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        self._pool.check(now)
        for job in tuple(self._retries):
            if now >= job.expiry:
                self._retries.remove(job)
                reason = "the worker process was lost, and a second attempt did not fit into the call's time"
                job.deliver(job.unrun(Status.SANDBOX_ERROR, reason, kind="SandboxError"))

    def _shut_down(self) -> None:
        with self._lock:
            self._accepting = False
        self._stopping = True
        reason = self._failure or "the sandbox was closed"
        for zygote in self._pool:
            for occupant in zygote.running.values():
                if isinstance(occupant, Execution):
                    occupant.kill(Status.CANCELLED)
        self._pool.close(reason)
        self._reactor.turn(0)  # takes in what was submitted before `_accepting` fell
        self.sessions.close(reason)
        for job in (*self._retries, *self._queue):
            job.deliver(job.unrun(Status.CANCELLED, reason))
        self._targets.close()
        self._scratch.close()
        with self._lock:
            self._closed = True
            self._reactor.close()


def _programs(zygote: Zygote) -> int:
    return sum(occupant.is_busy for occupant in zygote.running.values())
