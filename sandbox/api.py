"""`Sandbox`: runs Python programs that nobody has read."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Literal, Self

from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.job import Job
from sandbox.limits import Limits
from sandbox.memory import default_budget
from sandbox.own_kernel import VARIABLE, contradiction, declared, read_marks
from sandbox.request import Request
from sandbox.result import Isolation, Level, Result, check_levels
from sandbox.sessions.conversation import Conversation
from sandbox.sessions.options import SessionOptions
from sandbox.sessions.places import BUDGET_PART
from sandbox.sessions.session import Session
from sandbox.supervisor import Options, Supervisor
from sandbox.transfer import space_of
from sandbox.zygote import ZygoteOptions, default_library_paths
from sandbox.zygote_pool import PoolOptions


class Sandbox:
    """A pool of warm, confined Python processes; each program gets a process of its own, and nothing of an earlier one.

        with Sandbox() as sandbox:
            result = sandbox.run("print(6 * 7)")

    Works from any thread, from any number of asyncio loops and inside a Ray actor. A program that fails, hangs, crashes or
    floods is a `Result`, never an exception. A program has no input, no network and no files but an empty directory of its
    own; it runs as this process's user without any privilege.

    Args:
        workers: warm processes; None takes one per core that this process may use.
        preload: modules that programs find imported; a program may import any other of `library_paths` too, only slower.
        limits: bounds on one program.
        min_level: the least isolation to run under; see `Level`.
        max_level: the most isolation to try. The sandbox takes the highest level up to this one that this machine gives;
            `min_level=2, max_level=2` takes exactly level 2.
        own_kernel: declares that this pod has a kernel of its own, which makes level 2 or 3 level 4: `gvisor`, or `vm` for
            Kata, Firecracker or any virtual machine with a single tenant. None takes the environment variable
            SANDBOX_OWN_KERNEL. A declaration that this machine contradicts is refused.
        allow_insecure: needed to run at level 0, which does not confine: a program can then read this user's files, use the
            network, start processes that outlive it and signal others.
        children_per_worker: programs that run at a time in one worker's care.
        spare_children: processes that each worker keeps ready, locked down and waiting, so that a program starts at once; they
            cost a little memory and, all in all, no time.
        memory_budget: bytes that the programs of all sandboxes on this machine (of this user) may be promised together; those
            that do not fit wait in the queue. None takes half of the machine's or the container's memory.
        max_sessions: sessions that may be open at a time; all sessions of this machine's sandboxes share half of the memory
            budget, so that they never keep the programs that run alone from theirs.
        children_per_life: programs after which a worker is replaced by a fresh one.
        library_paths: directories of third-party modules, readable by every program: keep answers and keys out of them. None
            takes this interpreter's site-packages.

    Raises:
        ValueError: a number is out of range, or `own_kernel` is no name of a kernel.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        preload: Sequence[str] = ("numpy", "sympy"),
        limits: Limits | None = None,
        min_level: int = Level.CONFINED,
        max_level: int = Level.OWN_KERNEL,
        own_kernel: str | None = None,
        allow_insecure: bool = False,
        children_per_worker: int = 2,
        spare_children: int = 0,
        memory_budget: int | None = None,
        max_sessions: int = 16,
        children_per_life: int = 50_000,
        library_paths: Sequence[str] | None = None,
    ) -> None:
        if workers is None:
            workers = len(os.sched_getaffinity(0))
        _check_counts(
            {
                "workers": (workers, 1),
                "children_per_worker": (children_per_worker, 1),
                "spare_children": (spare_children, 0),
                "max_sessions": (max_sessions, 0),
                "children_per_life": (children_per_life, 1),
            }
        )
        check_levels(min_level, max_level)
        self.limits = limits or Limits()
        if memory_budget is None:
            memory_budget = default_budget()
        if memory_budget < self.limits.share_bytes:
            raise ValueError(
                f"memory_budget is {memory_budget} bytes, but one program may use {self.limits.share_bytes}; "
                "lower Limits.memory_bytes or Limits.scratch_bytes, or raise the budget"
            )
        paths = default_library_paths() if library_paths is None else tuple(map(os.path.realpath, library_paths))
        self._own_kernel = declared(own_kernel) if max_level == Level.OWN_KERNEL else None
        self._options = Options(
            pool=PoolOptions(
                workers=workers,
                children_per_life=children_per_life,
                min_level=Level(min_level),
                max_level=Level(max_level),
                own_kernel=self._own_kernel is not None,
                allow_insecure=allow_insecure,
                zygote=ZygoteOptions(tuple(preload), paths, self.limits),
            ),
            children_per_worker=children_per_worker,
            spare_children=spare_children,
            memory_budget=memory_budget,
            max_sessions=max_sessions,
        )
        self._supervisor: Supervisor | None = None
        self._isolation: Isolation | None = None
        self._stop: Callable[[], object] | None = None
        self._owner = 0

    def start(self) -> Self:
        """Starts the workers and probes their isolation; blocks until they are ready, about a second. `with` does it.

        Raises:
            SandboxUnavailable: a worker cannot be started, or gives less isolation than `min_level`, or the declaration of
                a kernel of its own is wrong.
            SandboxError: it is open already.
        """
        if self._supervisor is not None:
            raise SandboxError("the sandbox is open already")
        if self._own_kernel is not None and (reason := contradiction(self._own_kernel, read_marks())) is not None:
            raise SandboxUnavailable(f"{reason}; drop the declaration (own_kernel, or the variable {VARIABLE})")
        try:
            supervisor = Supervisor(self._options)
        except OSError as error:
            raise SandboxUnavailable(
                f"the directory for temporary files cannot be used: {error}; free some space, or set TMPDIR to one of yours"
            ) from error
        self._isolation = supervisor.start()
        self._supervisor = supervisor
        self._owner = os.getpid()
        self._stop = weakref.finalize(self, _stop_in, self._owner, supervisor)
        return self

    def close(self) -> None:
        """Ends every program and worker; calls in flight get `cancelled`. Harmless when repeated."""
        if self._stop is not None:
            self._stop()
        self._supervisor = None

    @property
    def isolation(self) -> Isolation:
        """The weakest isolation among the workers.

        Raises:
            SandboxError: the sandbox is not open.
        """
        self._require_open()
        assert self._isolation is not None
        return self._isolation

    def run(
        self,
        code: str,
        *,
        timeout: float | None = None,
        seed: int | None = None,
        files: Mapping[str, bytes] | None = None,
        fetch: Sequence[str] = (),
        stdin: bytes = b"",
    ) -> Result:
        """Runs one program and waits for it; see `Request` for the arguments. An interrupt (Ctrl-C) ends the program too.

        Raises:
            TypeError, ValueError: bad arguments.
            SandboxError: the sandbox is not open.
        """
        return self.run_batch([Request(code, timeout, seed, files or {}, fetch, stdin)])[0]

    def run_batch(self, requests: Iterable[Request | str]) -> list[Result]:
        """Runs programs side by side, as many at a time as the workers take; results in the order of the requests.

        Raises:
            TypeError, ValueError: a bad request; nothing has run then.
            SandboxError: the sandbox is not open.
        """
        waiting = [self._prepare(each) for each in requests]
        supervisor = self._submit(waiting)
        try:
            return [future.result() for _, future in waiting]
        except BaseException:
            for job, _ in waiting:
                supervisor.cancel(job)
            raise

    def as_completed(
        self, requests: Iterable[Request | str], max_in_flight: int | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Runs programs side by side and yields (index of the request, result) as they end.

        Requests are taken when there is room for them, so there may be any number. What runs when the caller stops asking is
        cancelled.

        Args:
            requests: what to run.
            max_in_flight: programs queued or running at a time; None takes twice what the workers run.

        Raises:
            TypeError, ValueError: a bad request, once it is reached; or `max_in_flight` is below 1.
            SandboxError: the sandbox is not open.
        """
        if max_in_flight is None:
            max_in_flight = 2 * self._options.pool.workers * self._options.children_per_worker
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight is {max_in_flight!r}; it must be at least 1")
        supervisor = self._require_open()
        running: dict[Future[Result], tuple[int, Job]] = {}
        try:
            for index, request in enumerate(requests):
                while len(running) >= max_in_flight:
                    yield from _finished(running)
                job, future = self._prepare(request)
                running[future] = (index, job)
                self._submit([(job, future)])
            while running:
                yield from _finished(running)
        finally:
            for _, job in running.values():
                supervisor.cancel(job)

    async def arun(
        self,
        code: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the program, not the await
        seed: int | None = None,
        files: Mapping[str, bytes] | None = None,
        fetch: Sequence[str] = (),
        stdin: bytes = b"",
    ) -> Result:
        """`run` for asyncio: never blocks the loop. Cancelling the await kills the program.

        Raises:
            TypeError, ValueError: bad arguments.
            SandboxError: the sandbox is not open.
        """
        import asyncio  # late: half of what importing this package would cost

        job, future = self._prepare(Request(code, timeout, seed, files or {}, fetch, stdin))
        supervisor = self._submit([(job, future)])
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            supervisor.cancel(job)
            raise

    def session(
        self,
        *,
        seed: int | None = None,
        on_error: Literal["rollback", "keep"] = "rollback",
        timeout: float | None = None,
        files: Mapping[str, bytes] | None = None,
        max_replayed_steps: int = 64,
        max_replay_seconds: float = 10.0,
        open_timeout: float = 60.0,
    ) -> Session:
        """A process that runs programs one after the other in one namespace; use it in `with` or `async with`.

            with sandbox.session() as session:
                session.step("x = 6")
                assert session.step("print(7 * x)").stdout == "42\\n"

        Entering it waits for a place (`max_sessions`), for its share of the memory, which it holds until its end, and for a
        process.

        Args:
            seed: what `random`, NumPy and SymPy start from, 0 to 2**32 - 1; None draws one, which the results name.
            on_error: what a step that fails leaves: nothing ("rollback": the state before it is rebuilt), or whatever it did
                ("keep", as a notebook); see `Session`.
            timeout: wall-clock seconds for each step that asks for no other, at most 60; None takes the sandbox's default.
            files: what lies in its directory when it starts, and again whenever it starts anew.
            max_replayed_steps: a state that more steps have made is lost with the first step that fails.
            max_replay_seconds: the same for the time they took; and how long a step waits for a process, and the replay may
                take.
            open_timeout: how long entering may wait.

        Raises:
            TypeError, ValueError: bad arguments; or one session alone does not fit into half of the memory budget.
            SandboxError: the sandbox is not open. On entering: it was closed.
            SandboxUnavailable: on entering, no place or no process came free in time.
        """
        supervisor = self._require_open()
        if self.limits.share_bytes > BUDGET_PART * self._options.memory_budget:
            raise ValueError(
                f"sessions share half of memory_budget, which is {self._options.memory_budget} bytes, but one session may "
                f"use {self.limits.share_bytes}; lower Limits.memory_bytes or raise the budget"
            )
        options = SessionOptions(
            seed, on_error, timeout, files or {}, max_replayed_steps, max_replay_seconds, open_timeout
        )
        if (size := sum(map(len, options.files.values()))) > self.limits.transfer_bytes:
            raise ValueError(f"the files have {size} bytes together, the limit is {self.limits.transfer_bytes}")
        return Session(Conversation(supervisor, self.limits, options))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        import asyncio

        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.close)

    def _require_open(self) -> Supervisor:
        if self._supervisor is None:
            raise SandboxError("the sandbox is not open: use it in a `with` block or call start()")
        if os.getpid() != self._owner:
            raise SandboxError("the sandbox was opened in another process: open one here")
        return self._supervisor

    def _prepare(self, request: Request | str) -> tuple[Job, Future[Result]]:
        if not isinstance(request, Request):
            request = Request(request)
        if request.transfer_bytes() > self.limits.transfer_bytes:
            raise ValueError(
                f"files and input have {request.transfer_bytes()} bytes together, the limit (Limits.transfer_bytes) is "
                f"{self.limits.transfer_bytes}"
            )
        self._check_files(request)
        future: Future[Result] = Future()
        # From now on nobody can cancel the future itself, so delivering a result into it cannot fail.
        future.set_running_or_notify_cancel()
        timeout = self.limits.wall_seconds if request.timeout is None else request.timeout
        return Job(request, timeout, request.drawn_seed(), future.set_result), future

    def _check_files(self, request: Request) -> None:
        size, number = space_of(request.files)
        if size > self.limits.scratch_bytes or number > self.limits.scratch_files:
            raise ValueError(
                f"the files take {size} bytes and make {number} files and directories, the limits (Limits.scratch_bytes, "
                f"scratch_files) are {self.limits.scratch_bytes} and {self.limits.scratch_files}"
            )
        needs_files = bool(request.files or request.fetch)
        if needs_files and self._isolation is not None and self._isolation.level is Level.FILTERED:
            raise SandboxError("at isolation level 1 a program can open no file: neither give nor fetch any")

    def _submit(self, waiting: Sequence[tuple[Job, Future[Result]]]) -> Supervisor:
        """Queues the jobs, but answers programs that are too long at once."""
        supervisor = self._require_open()
        accepted = []
        for job, _ in waiting:
            refusal = job.refusal(self.limits.program_bytes)
            if refusal is None:
                accepted.append(job)
            else:
                job.deliver(refusal)
        supervisor.submit(accepted)
        return supervisor


def _check_counts(counts: Mapping[str, tuple[int, int]]) -> None:
    """Refuses numbers below their least; by name, the number and the least."""
    for name, (number, least) in counts.items():
        if number < least:
            raise ValueError(f"{name} is {number!r}; it must be at least {least}")


def _finished(running: dict[Future[Result], tuple[int, Job]]) -> Iterator[tuple[int, Result]]:
    """Waits until at least one has ended, and takes out all that have."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        index, _ = running.pop(future)
        yield index, future.result()


def _stop_in(owner: int, supervisor: Supervisor) -> None:
    """Closes a sandbox that its user forgot, unless this is a fork of its process, in which the thread does not exist."""
    if os.getpid() == owner:
        supervisor.stop()
