"""The process of a session: its descriptors, and what two threads know of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sandbox.execution import CHECK_SECONDS, PATIENCE_SECONDS
from sandbox.limits import KIB, Limits
from sandbox.pipes import one_way_pipe
from sandbox.result import Isolation
from sandbox.scratch import Scratch
from sandbox.sessions.exchange import Exchange
from sandbox.sessions.waiting import Events
from sandbox.threads import count_threads
from sandbox.transfer import write_files
from sandbox.wire import REPORT_READY, Ended, Order

_CHUNK = 64 * KIB
_LAST_READS = 32
"""A pipe holds at most a few chunks; a thread that a step left behind must not keep us reading what it writes meanwhile."""


class SessionChildEvents(Protocol):
    """What the supervisor is told."""

    def vacate_session(self, child: SessionChild) -> None:
        """The process is gone, or nobody will ever say so."""


class SessionChild:
    """One process that takes steps until it is killed or dies; an `Occupant` of its zygote, never a busy one.

    Two threads meet here. The session's own one opens the pipes, writes orders, reads what the process writes and at last
    calls `release`. The supervisor's thread owns the process: what it needs for the fork, its directory, its pidfd. What it
    has to say rings a bell that the session's thread hears in `poll`. What both touch is guarded by a lock.

    Attributes:
        number: names the process in the packets.
        files: what lies in its directory before its first step.
        scratch: its directory.
        isolation: what it runs under, once that is known.
        waits_for: what has to happen before there can be a process.
        poll: sees everything that the session's thread has to react to.
        end: how the kernel says it ended, once it has.
        loss: why there is no process, or why nobody will ever say how it ended, if that is so.

    Raises:
        OSError: out of descriptors or memory.
    """

    def __init__(self, limits: Limits, files: Mapping[str, bytes], events: SessionChildEvents) -> None:
        self.is_busy = False
        self.next_check = float("inf")
        self.number = 0
        self.files = files
        self.scratch = Scratch()
        self.isolation: Isolation | None = None
        self.waits_for = "a worker process"
        self.end: Ended | None = None
        self.loss: str | None = None
        self._events = events
        self._lock = threading.RLock()  # the garbage collector may end a forgotten session at any moment
        self._is_released = False
        self._is_locked_down = False
        self._pidfd: int | None = None
        self._zygote_owes_since: float | None = None
        self._held: list[int] = []
        self._childs_ends: list[int] = []
        self.poll = select.epoll()
        try:
            self._open(limits)
        except OSError:
            self.release()
            self.forget_childs_ends()
            raise

    def _open(self, limits: Limits) -> None:
        self._program, for_child = _program_file(limits.program_bytes)
        self._held.append(self._program)
        self._childs_ends.append(for_child)
        orders, self._orders = one_way_pipe(os.O_CLOEXEC)
        self._childs_ends.append(orders)
        self._held.append(self._orders)
        self._stdout, self._stderr, self._report = (self._open_pipe() for _ in range(3))
        os.set_blocking(self._childs_ends[-1], False)  # a program that fills up the report's must not hold up its end
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._held.append(self._bell)
        self.poll.register(self._bell, select.EPOLLIN)

    def _open_pipe(self) -> int:
        read, write = one_way_pipe(os.O_CLOEXEC)
        self._held.append(read)
        self._childs_ends.append(write)
        os.set_blocking(read, False)
        self.poll.register(read, select.EPOLLIN)
        return read

    def wake(self) -> None:
        """Has `poll` return; for any thread."""
        with self._lock:
            if not self._is_released:
                os.eventfd_write(self._bell, 1)

    # For the session's thread.

    @property
    def is_ready(self) -> bool:
        """Whether it is locked down and waits for orders, and its files lie in its directory."""
        return self._is_locked_down and self.scratch.is_open

    @property
    def is_gone(self) -> bool:
        """Whether it takes no orders any more."""
        return self.end is not None or self.loss is not None

    def give(self, order: Order, program: bytes) -> None:
        """Has the process run a program. Of one that has died meanwhile `poll` is about to tell."""
        os.pwrite(self._program, program, 0)
        try:
            os.write(self._orders, order.pack())
        except BrokenPipeError:
            pass
        finally:  # if it cannot take the order, it has to get on to its end
            self.send_signal(signal.SIGCONT)

    def suspend(self) -> None:
        """Stops the process until the next order: threads that a step has left behind use neither processor nor files."""
        self.send_signal(signal.SIGSTOP)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends the process a signal, if it lives."""
        with self._lock:
            if self._pidfd is not None:
                _send(self._pidfd, number)

    def take_ready(self, events: Events) -> None:
        """Takes in what `poll` has seen of a process that is getting ready."""
        for descriptor, _ in events:
            if descriptor == self._bell:
                self._hear()
            elif descriptor == self._report and (said := self._read(descriptor)):
                self._is_locked_down = said == REPORT_READY
                if not self._is_locked_down:
                    self.loss = f"the process could not be locked down: {said.decode('utf-8', 'replace')}"

    def take(self, events: Events, exchange: Exchange) -> None:
        """Takes in what `poll` has seen during a step."""
        for descriptor, _ in events:
            if descriptor == self._bell:
                self._hear()
            elif (chunk := self._read(descriptor)) is None:
                continue
            elif descriptor == self._report:
                exchange.feed_report(chunk, time.monotonic())
            else:
                (exchange.stdout if descriptor == self._stdout else exchange.stderr).feed(chunk)

    def take_rest(self, exchange: Exchange) -> None:
        """Takes in what a step that is over has written."""
        for _ in range(_LAST_READS):
            events = [event for event in self.poll.poll(0) if event[0] in (self._stdout, self._stderr)]
            if not events:
                return
            self.take(events, exchange)

    def borrow_scratch(self) -> int | None:
        """A descriptor of the process's directory, for the caller to close; None if the process is gone.

        Raises:
            OSError: out of descriptors.
        """
        with self._lock:
            return os.dup(self.scratch.descriptor) if self.scratch.is_open and not self.is_gone else None

    def has_more_threads_than(self, number: int) -> bool:
        """Whether the process has more than so many."""
        with self._lock:
            return self._pidfd is not None and count_threads(self._pidfd) > number

    def release(self) -> None:
        """Kills the process and closes the session's descriptors. Harmless when repeated."""
        with self._lock:
            self._is_released = True
            if self._pidfd is not None:
                _send(self._pidfd, signal.SIGKILL)
        while self._held:
            os.close(self._held.pop())
        self.poll.close()

    def _read(self, descriptor: int) -> bytes | None:
        """One chunk, nothing at the pipe's end, None if there is nothing now."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return None
        if not chunk:
            self.poll.unregister(descriptor)
        return chunk

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    # For the supervisor's thread.

    def dispatch(self, number: int, scratch: Scratch, isolation: Isolation | None) -> tuple[int, ...]:
        """Gets ready for the fork; returns what a request for a child carries, as `wire.CHILD_DESCRIPTORS` lists it.

        Raises:
            OSError: no space for the session's files.
        """
        self.number, self.scratch, self.isolation = number, scratch, isolation
        if scratch.is_open:
            write_files(scratch.descriptor, self.files)
        self.expect_zygote()
        return (*self._childs_ends, *scratch.descriptors())

    def forget_childs_ends(self) -> None:
        """Closes what only the process must hold, lest its end goes unnoticed. Harmless when repeated."""
        while self._childs_ends:
            os.close(self._childs_ends.pop())

    def expect_zygote(self) -> None:
        """From now on the zygote owes a message: the process was asked for, or ought to die."""
        if not self.is_gone and self._zygote_owes_since is None:
            self._zygote_owes_since = time.monotonic()
            self.next_check = self._zygote_owes_since + CHECK_SECONDS

    def take_scratch(self, directory: int) -> None:
        """The process has mounted a directory of its own, into which the files go."""
        try:
            write_files(directory, self.files)
        except OSError as error:
            self.loss = f"no room for the session's files: {error}"
        with self._lock:
            self.scratch.descriptor = directory
        self.wake()

    def started(self, pidfd: int) -> None:
        """The process exists."""
        self._zygote_owes_since = None
        self.next_check = float("inf")
        with self._lock:
            self._pidfd = pidfd
            if self._is_released:
                _send(pidfd, signal.SIGKILL)
        if self._is_released:
            self.expect_zygote()

    def check(self, zygote_is_stopped: Callable[[], bool]) -> str | None:
        """Returns why the zygote must be given up, if it must."""
        now = time.monotonic()
        if self._zygote_owes_since is None:
            self.next_check = float("inf")
            return None
        if zygote_is_stopped():
            return "the worker process is stopped"
        if now - self._zygote_owes_since > PATIENCE_SECONDS:
            return f"the worker process has not answered for {PATIENCE_SECONDS:g} s"
        self.next_check = now + CHECK_SECONDS
        return None

    def ended(self, ended: Ended, isolation: Isolation | None) -> None:
        """The process is dead and reaped."""
        self.end = ended
        self._conclude()

    def lost(self, reason: str) -> None:
        """Nobody will ever say how the process ended; if there is one, it dies now."""
        self.loss = reason
        self._conclude()

    def _conclude(self) -> None:
        with self._lock:
            if self._pidfd is not None:
                _send(self._pidfd, signal.SIGKILL)
                os.close(self._pidfd)
                self._pidfd = None
        self.wake()
        self.forget_childs_ends()
        self._events.vacate_session(self)


def _program_file(size: int) -> tuple[int, int]:
    """A file in memory for one program after the other: a descriptor for writing, and one for the child.

    The child's cannot write and shares no state with ours, or a program could have our writes go elsewhere (`O_APPEND`).
    """
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    descriptor = os.memfd_create("program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.truncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        for_child = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        os.fchmod(descriptor, 0)  # nobody opens it a second time
        return descriptor, for_child
    except OSError:
        os.close(descriptor)
        raise


def _send(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return  # reaped already
