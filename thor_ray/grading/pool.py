"""Grading as a service inside one process: inline where arithmetic decides, killable workers where algebra must."""

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from types import TracebackType
from typing import Self

from thor_ray.grading import gates
from thor_ray.grading.comparison import compare
from thor_ray.grading.extraction import extract_boxed
from thor_ray.grading.values import Comparison, UnreadableAnswerError
from thor_ray.grading.verdict import Grade, GradeStatus
from thor_ray.grading.worker_process import (
    AlgebraError,
    AlgebraTimeoutError,
    UnparsableError,
    WorkerDiedError,
    WorkerProcess,
    WorkerSupply,
)

DEADLINE_SECONDS = 2.0
"""Time for all the algebra of one verdict."""


def grade_inline(answer: str, gold: str) -> Grade | None:
    """Grades an answer without any process, file or clock but the stopwatch; pure up to ``milliseconds``.

    Args:
        answer: The content of the answer's box.
        gold: The gold answer.

    Returns:
        The verdict, or ``None`` if only algebra can give one.
    """
    started = time.perf_counter()
    if _is_short_integer(answer) and _is_short_integer(gold):
        equal = int(answer) == int(gold)
        return _grade(Comparison(equal, "equal" if equal else "different value"), "exact", answer, started)
    refusal = gates.refusal(answer)
    if refusal:
        return Grade(GradeStatus.UNPARSABLE, refusal, "gate", answer, _milliseconds_since(started))
    if gates.refusal(gold):
        comparison = Comparison(gold.strip() == answer.strip(), "the gold answer can only be compared as text")
        return _grade(comparison, "gate", answer, started)
    try:
        comparison = compare(gold, answer)
    except UnreadableAnswerError as error:
        return Grade(GradeStatus.UNPARSABLE, str(error), "exact", answer, _milliseconds_since(started))
    if comparison.equal is None:
        return None
    return _grade(comparison, "text" if comparison.reason == "same text" else "exact", answer, started)


class GraderPool:
    """Grades responses and answers from any thread, event loop or Ray actor of one process.

    Most verdicts are computed in the calling thread in microseconds. The first one that needs algebra starts a worker
    process; each worker has one comparison in flight and is killed when ``deadline_seconds`` pass. A pool that never
    meets algebra never starts a process. Close it, or use it as a context manager (sync or async); its workers end with
    the process in any case, however that ends.

    Args:
        workers: Greatest number of comparisons at a time, each in its own process (about 100 MB), plus one spare.
        deadline_seconds: Time for the algebra of one verdict, not counting the wait for a free worker.
        cache_size: Number of verdicts kept, by (gold, answer); 0 switches the cache off.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, workers: int = 1, deadline_seconds: float = DEADLINE_SECONDS, cache_size: int = 65_536) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if deadline_seconds <= 0:
            raise ValueError(f"deadline_seconds must be positive, got {deadline_seconds}")
        if cache_size < 0:
            raise ValueError(f"cache_size must not be negative, got {cache_size}")
        self._deadline_seconds = deadline_seconds
        self._cache = _VerdictCache(cache_size)
        self._supply = WorkerSupply()
        # Its threads start on demand and live as long as the pool, which is what keeps their workers alive.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="grader")
        self._own = threading.local()
        self._owner_pid = os.getpid()

    def grade(self, response: str, gold: str) -> Grade:
        """Grades a whole response by its last box; blocks until there is a verdict.

        Raises:
            RuntimeError: The pool is closed, or was made by the process that this one was forked from.
        """
        answer = extract_boxed(response)
        return _NO_BOX if answer is None else self.grade_answer(answer, gold)

    def grade_answer(self, answer: str, gold: str) -> Grade:
        """Grades the content of a box; blocks until there is a verdict. Raises as ``grade`` does."""
        outcome = self._begin(answer, gold)
        return outcome if isinstance(outcome, Grade) else outcome.result()

    async def agrade(self, response: str, gold: str) -> Grade:
        """Like ``grade``, without blocking the event loop."""
        answer = extract_boxed(response)
        return _NO_BOX if answer is None else await self.agrade_answer(answer, gold)

    async def agrade_answer(self, answer: str, gold: str) -> Grade:
        """Like ``grade_answer``, without blocking the event loop."""
        outcome = self._begin(answer, gold)
        return outcome if isinstance(outcome, Grade) else await asyncio.wrap_future(outcome)

    def warm_up(self) -> None:
        """Starts a worker now, so that a missing library is found before the work and the first verdict is quick.

        Raises:
            GraderUnavailableError: Symbolic grading doesn't work on this machine; says why.
        """
        self._threads.submit(self._worker).result()

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that live now, the spare included; empty before any algebra."""
        return self._supply.pids()

    def close(self) -> None:
        """Ends all workers and threads. Verdicts not begun are cancelled. May be called twice."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._supply.close()
        self._threads.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _begin(self, answer: str, gold: str) -> "Grade | Future[Grade]":
        """A verdict at once where possible, else the promise of one."""
        started = time.perf_counter()
        cached = self._cache.get(gold, answer)
        if cached is not None:
            return replace(cached, milliseconds=_milliseconds_since(started))
        inline = grade_inline(answer, gold)
        if inline is not None:
            self._cache.put(gold, inline)
            return inline
        if os.getpid() != self._owner_pid:
            raise RuntimeError("this GraderPool was made before a fork; make one in the process that uses it")
        return self._threads.submit(self._grade_with_algebra, answer, gold, started)

    def _grade_with_algebra(self, answer: str, gold: str, started: float) -> Grade:
        """Runs in a thread of the pool. A worker that died is replaced once; a second death is an error."""
        try:
            comparison = compare(gold, answer, self._algebra_until_deadline())
            grade = _grade(comparison, "symbolic", answer, started)
        except UnparsableError as error:
            grade = Grade(GradeStatus.UNPARSABLE, str(error), "symbolic", answer, _milliseconds_since(started))
        except AlgebraTimeoutError:
            reason = f"no verdict within {self._deadline_seconds:g} s"
            return Grade(GradeStatus.TIMEOUT, reason, "symbolic", answer, _milliseconds_since(started))
        except AlgebraError as error:
            return Grade(GradeStatus.ERROR, str(error), "symbolic", answer, _milliseconds_since(started))
        finally:
            self._supply.prepare_spare()
        self._cache.put(gold, grade)
        return grade

    def _algebra_until_deadline(self) -> Callable[[str, str], bool]:
        """Algebra for one verdict: all its comparisons share one deadline, which begins once a worker is ready."""
        self._worker()
        deadline = time.monotonic() + self._deadline_seconds

        def equal(gold: str, answer: str) -> bool:
            try:
                return self._ask(gold, answer, deadline)
            except WorkerDiedError:
                # Killed from outside, or by this very pair; the second death says which. The new one's start is not
                # charged to the answer.
                self._worker()
                return self._ask(gold, answer, time.monotonic() + self._deadline_seconds)

        return equal

    def _ask(self, gold: str, answer: str, deadline: float) -> bool:
        worker = self._worker()
        try:
            return worker.equal(gold, answer, deadline)
        except AlgebraError:
            if not worker.is_alive:
                self._drop_worker()
            raise

    def _worker(self) -> WorkerProcess:
        """The worker of the calling pool thread; a new one if it has none or a worn-out one."""
        worker: WorkerProcess | None = getattr(self._own, "worker", None)
        if worker is not None and not worker.is_worn_out:
            return worker
        if worker is not None:
            self._drop_worker()
        worker = self._supply.take()
        self._own.worker = worker
        return worker

    def _drop_worker(self) -> None:
        self._supply.discard(self._own.worker)
        self._own.worker = None


class _VerdictCache:
    """Least recently used verdicts by (gold, answer). Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._grades: OrderedDict[tuple[str, str], Grade] = OrderedDict()

    def get(self, gold: str, answer: str) -> Grade | None:
        with self._lock:
            grade = self._grades.get((gold, answer))
            if grade is not None:
                self._grades.move_to_end((gold, answer))
            return grade

    def put(self, gold: str, grade: Grade) -> None:
        assert grade.extracted is not None
        with self._lock:
            self._grades[gold, grade.extracted] = grade
            if len(self._grades) > self._size:
                self._grades.popitem(last=False)


def grade(response: str, gold: str) -> Grade:
    """Grades one response with this process's own one-worker pool, made on first use; see ``GraderPool.grade``."""
    return _pool_of_process(os.getpid()).grade(response, gold)


def grade_answer(answer: str, gold: str) -> Grade:
    """Grades the content of one box with this process's own pool; see ``GraderPool.grade_answer``."""
    return _pool_of_process(os.getpid()).grade_answer(answer, gold)


@lru_cache(maxsize=1)
def _pool_of_process(_pid: int) -> GraderPool:
    return GraderPool()


_NO_BOX = Grade(GradeStatus.NO_BOX, "no complete, non-empty box", "extraction", None, 0.0)


def _is_short_integer(text: str) -> bool:
    return len(text) <= 18 and text.isascii() and text.removeprefix("-").isdigit()


def _grade(comparison: Comparison, path: str, answer: str, started: float) -> Grade:
    status = GradeStatus.CORRECT if comparison.equal else GradeStatus.WRONG
    return Grade(status, comparison.reason, path, answer, _milliseconds_since(started))


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
