"""The parent's hold on symbolic workers: start, ask with a deadline, kill.

A deadline that the worker kept itself could be missed by the very expression that makes it necessary, so the clock is
here and the means is SIGKILL. Workers are started from nothing (``exec``), never forked from a process with threads,
CUDA or Ray in it.
"""

import json
import os
import subprocess
import sys
import threading
import time
from fractions import Fraction
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

from thor_ray.errors import UserError
from thor_ray.grading.numerals import TooLargeError

STARTUP_SECONDS = 60.0
"""Time for a worker to start; a fraction of a second, but seconds on a loaded machine."""
RECYCLE_AFTER = 2_000
"""Questions after which a worker is replaced, so that no leak of a library adds up."""


class AlgebraError(RuntimeError):
    """The symbolic comparison failed; the answer may be right or wrong."""


class AlgebraTimeoutError(AlgebraError):
    """The comparison passed its deadline; its process has been killed."""


class GraderUnavailableError(UserError, AlgebraError):
    """No symbolic worker can be started on this machine."""


class UnparsableError(ValueError):
    """One side is no expression.

    Attributes:
        side: ``gold`` or ``answer``.
    """

    def __init__(self, side: str) -> None:
        super().__init__("the gold answer is not readable" if side == "gold" else "not readable as mathematics")
        self.side = side


class WorkerDiedError(AlgebraError):
    """The process ended without an answer."""


class WorkerProcess:
    """One symbolic worker. Start and use it from one long-lived thread.

    PDEATHSIG is bound to the *thread* that starts the process, so the worker lives no longer than that thread.
    """

    def __init__(self) -> None:
        self._connection, childs_end = Pipe()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            "PYTHONHASHSEED": "0",  # the same answers in every process
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        arguments = [str(childs_end.fileno()), str(os.getpid())]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "thor_ray.grading.symbolic_worker", *arguments],
            pass_fds=[childs_end.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is the owner's business
        )
        childs_end.close()
        self._is_ready = False
        self._served = 0
        self._ending = threading.Lock()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the worker may be asked again."""
        return not self._connection.closed

    @property
    def is_worn_out(self) -> bool:
        """Whether the worker should be replaced before the next comparison."""
        return self._served >= RECYCLE_AFTER

    def wait_until_ready(self) -> None:
        """Blocks until the worker has imported its libraries and passed its self-test.

        Raises:
            GraderUnavailableError: It can't, or not within ``STARTUP_SECONDS``.
        """
        if self._is_ready:
            return
        try:
            greeting = self._receive(time.monotonic() + STARTUP_SECONDS)
        except AlgebraError as error:
            self.kill()
            raise GraderUnavailableError(f"the symbolic grading worker did not start: {error}") from error
        if "fatal" in greeting:
            self.kill()
            raise GraderUnavailableError(
                f"symbolic grading is not available: {greeting['fatal']}",
                "Install the project's dependencies anew; mpmath is what the algebra needs.",
            )
        self._is_ready = True

    def equal(self, gold: str, answer: str, deadline: float) -> bool | None:
        """Compares two normalised expressions; ``None`` if they have no values to compare.

        Args:
            gold: The gold expression.
            answer: The answer's expression.
            deadline: ``time.monotonic()`` value at which the worker is killed.

        Raises:
            AlgebraTimeoutError: The deadline passed.
            UnparsableError: One side is not readable.
            TooLargeError: Evaluating them would take too long.
            AlgebraError: The algebra failed, or the worker died; ``is_alive`` says which.
        """
        response = self._ask({"gold": gold, "answer": answer}, deadline)
        if "unparsable" in response:
            raise UnparsableError(response["unparsable"])
        equal: bool | None = response["equal"]
        return equal

    def number(self, text: str, deadline: float) -> Fraction | None:
        """The value of a normalised expression, if it is a real constant; otherwise as ``equal``."""
        pair = self._ask({"number": text}, deadline)["number"]
        return None if pair is None else Fraction(*pair)

    def _ask(self, request: dict[str, str], deadline: float) -> dict[str, Any]:
        self._served += 1
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            response = self._receive(deadline)
        except (OSError, AlgebraError) as error:
            self.kill()
            raise error if isinstance(error, AlgebraError) else WorkerDiedError(str(error)) from error
        if "error" in response:
            if "suspect" in response:
                self.kill()
            raise AlgebraError(response["error"])
        if "too_large" in response:
            raise TooLargeError
        return response

    def kill(self) -> None:
        """Ends the process at once and reaps it. May be called twice, and by any thread."""
        # The owner gives up on a worker at the very time when the pool closes: one of them would close the other's pipe.
        with self._ending:
            self._process.kill()
            self._process.wait()
            self._connection.close()

    def _receive(self, deadline: float) -> dict[str, Any]:
        try:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                raise AlgebraTimeoutError("deadline passed")
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            self._process.kill()
            raise WorkerDiedError(f"worker process ended with code {self._process.wait()}") from error
        return message


class WorkerSupply:
    """Hands out workers and keeps one spare warm, so that a kill costs the next caller nothing.

    Thread-safe. The first spare is started when a worker is first taken, not before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: WorkerProcess | None = None
        self._alive: set[WorkerProcess] = set()
        self._is_closed = False

    def take(self) -> WorkerProcess:
        """A ready worker; the caller owns it until ``discard``.

        Raises:
            GraderUnavailableError: Workers can't be started here, or the supply is closed.
        """
        spare = self._swap_spare(None)
        if spare is not None:
            try:
                spare.wait_until_ready()
            except GraderUnavailableError:
                self.discard(spare)  # killed while it waited; that says nothing about a fresh one
            else:
                return spare
        worker = self._start()
        try:
            worker.wait_until_ready()
        except GraderUnavailableError:
            self.discard(worker)
            raise
        return worker

    def prepare_spare(self) -> None:
        """Starts a spare in the background if there is none."""
        if self._spare is not None:
            return
        try:
            surplus = self._swap_spare(self._start())
        except GraderUnavailableError:
            return  # closed, or out of processes: whoever next takes a worker is told
        if surplus is not None:  # another thread was faster
            self.discard(surplus)

    def discard(self, worker: WorkerProcess) -> None:
        """Kills a worker."""
        worker.kill()
        with self._lock:
            self._alive.discard(worker)

    def close(self) -> None:
        """Kills all workers; ``take`` fails from now on."""
        with self._lock:
            self._is_closed = True
            doomed, self._alive, self._spare = self._alive, set(), None
        for worker in doomed:
            worker.kill()

    def pids(self) -> list[int]:
        """Process ids of all workers, the spare included."""
        with self._lock:
            return [worker.pid for worker in self._alive]

    def _start(self) -> WorkerProcess:
        with self._lock:
            if self._is_closed:
                raise GraderUnavailableError("the grader pool is closed")
            try:
                worker = WorkerProcess()
            except OSError as error:
                raise GraderUnavailableError(f"cannot start a symbolic grading worker: {error}") from error
            self._alive.add(worker)
            return worker

    def _swap_spare(self, worker: WorkerProcess | None) -> WorkerProcess | None:
        with self._lock:
            previous, self._spare = self._spare, worker
            return previous
