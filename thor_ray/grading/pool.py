"""Grading as a service inside one process: inline where arithmetic decides, killable workers where algebra must."""

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from types import TracebackType
from typing import Self, TypeVar

from thor_ray.grading import gates
from thor_ray.grading.extraction import extract_boxed
from thor_ray.grading.policy import EXACT, GradingPolicy
from thor_ray.grading.tolerance import WITHIN_TOLERANCE, compare_under
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
GRADER_VERSION = 2
"""Goes up whenever some verdict changes; part of the key under which verdicts are kept."""

_T = TypeVar("_T")
_Key = tuple[str, str, Fraction | None, int]
"""Gold answer, answer, tolerance and grader version."""


def grade_inline(answer: str, gold: str, policy: GradingPolicy = EXACT) -> Grade | None:
    """Grades an answer without any process, file or clock but the stopwatch; pure up to ``milliseconds``.

    Args:
        answer: The content of the answer's box.
        gold: The gold answer.
        policy: How strictly numbers are compared.

    Returns:
        The verdict, or ``None`` if only algebra can give one.
    """
    started = time.perf_counter()
    if policy.relative_tolerance is None and _is_short_integer(answer) and _is_short_integer(gold):
        equal = int(answer) == int(gold)
        return _grade(Comparison(equal, "equal" if equal else "different value"), "exact", answer, started)
    refusal = gates.refusal(answer)
    if refusal:
        return Grade(GradeStatus.UNPARSABLE, refusal, "gate", answer, _milliseconds_since(started))
    if gates.refusal(gold):
        comparison = Comparison(gold.strip() == answer.strip(), "the gold answer can only be compared as text")
        return _grade(comparison, "gate", answer, started)
    try:
        comparison = compare_under(policy, gold, answer)
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
        workers: Greatest number of comparisons at a time, each in its own process (about 30 MB), plus one spare.
        deadline_seconds: Time for the algebra of one verdict, not counting the wait for a free worker.
        cache_size: Number of verdicts kept, by gold, answer, policy and grader version; 0 switches the cache off.

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
        self._ledger = _Ledger(cache_size)
        self._supply = WorkerSupply()
        # Its threads start on demand and live as long as the pool, which is what keeps their workers alive.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="grader")
        self._own = threading.local()
        self._owner_pid = os.getpid()

    def grade(self, response: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
        """Grades a whole response by its last box; blocks until there is a verdict.

        Raises:
            RuntimeError: The pool is closed, or was made by the process that this one was forked from.
        """
        return _result(self._begin_response(response, gold, policy))

    def grade_answer(self, answer: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
        """Grades the content of a box; blocks until there is a verdict. Raises as ``grade`` does."""
        return _result(self._begin(answer, gold, policy))

    def grade_many(self, pairs: Iterable[tuple[str, str]], policy: GradingPolicy = EXACT) -> list[Grade]:
        """Grades (response, gold) pairs side by side, as many at a time as there are workers; keeps their order."""
        return [future.result() for future in [self.submit(response, gold, policy) for response, gold in pairs]]

    def submit(self, response: str, gold: str, policy: GradingPolicy = EXACT) -> Future[Grade]:
        """Begins to grade a response; the future is done already where no algebra is needed. Raises as ``grade``."""
        return _promised(self._begin_response(response, gold, policy))

    def submit_answer(self, answer: str, gold: str, policy: GradingPolicy = EXACT) -> Future[Grade]:
        """Begins to grade the content of a box; otherwise as ``submit``."""
        return _promised(self._begin(answer, gold, policy))

    async def agrade(self, response: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
        """Like ``grade``, without blocking the event loop."""
        return await _awaited(self._begin_response(response, gold, policy))

    async def agrade_answer(self, answer: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
        """Like ``grade_answer``, without blocking the event loop."""
        return await _awaited(self._begin(answer, gold, policy))

    async def agrade_many(self, pairs: Iterable[tuple[str, str]], policy: GradingPolicy = EXACT) -> list[Grade]:
        """Like ``grade_many``, without blocking the event loop."""
        return await asyncio.gather(*(self.agrade(response, gold, policy) for response, gold in pairs))

    def counts(self) -> dict[str, int]:
        """Verdicts given so far by status, those from the cache included: a jump of one of them is an alarm."""
        return self._ledger.counts()

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

    def _begin_response(self, response: str, gold: str, policy: GradingPolicy) -> "Grade | Future[Grade]":
        answer = extract_boxed(response)
        return self._ledger.count(_NO_BOX) if answer is None else self._begin(answer, gold, policy)

    def _begin(self, answer: str, gold: str, policy: GradingPolicy) -> "Grade | Future[Grade]":
        """A verdict at once where possible, else the promise of one."""
        key = (gold, answer, policy.relative_tolerance, GRADER_VERSION)
        remembered = self._ledger.recall(key)
        if remembered is not None:
            return remembered
        started = time.perf_counter()
        inline = grade_inline(answer, gold, policy)
        if inline is not None:
            return self._ledger.record(key, inline)
        if os.getpid() != self._owner_pid:
            raise RuntimeError("this GraderPool was made before a fork; make one in the process that uses it")
        return self._threads.submit(self._grade_with_algebra, key, policy, started)

    def _grade_with_algebra(self, key: _Key, policy: GradingPolicy, started: float) -> Grade:
        """Runs in a thread of the pool. A worker that died is replaced once; a second death is an error."""
        gold, answer, *_ = key
        try:
            self._worker()  # its start is not charged to the answer
            algebra = _WorkerAlgebra(self._ask, time.monotonic() + self._deadline_seconds)
            grade = _grade(compare_under(policy, gold, answer, algebra), "symbolic", answer, started)
        except (UnparsableError, UnreadableAnswerError) as error:
            grade = Grade(GradeStatus.UNPARSABLE, str(error), "symbolic", answer, _milliseconds_since(started))
        except AlgebraTimeoutError:
            reason = f"no verdict within {self._deadline_seconds:g} s"
            grade = Grade(GradeStatus.TIMEOUT, reason, "symbolic", answer, _milliseconds_since(started))
        except AlgebraError as error:
            grade = Grade(GradeStatus.ERROR, str(error), "symbolic", answer, _milliseconds_since(started))
        finally:
            self._supply.prepare_spare()
        # A failure of ours may not happen again, so it is not remembered.
        return self._ledger.count(grade) if grade.reward is None else self._ledger.record(key, grade)

    def _ask(self, question: Callable[[WorkerProcess, float], _T], deadline: float) -> _T:
        """Asks the worker of the calling pool thread; if that dies without an answer, another one."""
        try:
            return self._ask_once(question, deadline)
        except WorkerDiedError:
            # Killed from outside, or by this very question; the second death says which. The new one's start is not
            # charged to the answer.
            self._worker()
            return self._ask_once(question, time.monotonic() + self._deadline_seconds)

    def _ask_once(self, question: Callable[[WorkerProcess, float], _T], deadline: float) -> _T:
        worker = self._worker()
        try:
            return question(worker, deadline)
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


class _WorkerAlgebra:
    """Algebra for one verdict: all its questions share one deadline.

    Args:
        ask: Puts a question to a worker.
        deadline: ``time.monotonic()`` value at which the worker is killed.
    """

    def __init__(
        self, ask: Callable[[Callable[[WorkerProcess, float], object], float], object], deadline: float
    ) -> None:
        self._ask = ask
        self._deadline = deadline

    def equal(self, gold: str, answer: str) -> bool | None:
        """See `values.Algebra`."""
        equal = self._ask(lambda worker, deadline: worker.equal(gold, answer, deadline), self._deadline)
        assert equal is None or isinstance(equal, bool)
        return equal

    def number(self, text: str) -> Fraction | None:
        """See `values.Algebra`."""
        number = self._ask(lambda worker, deadline: worker.number(text, deadline), self._deadline)
        assert number is None or isinstance(number, Fraction)
        return number


class _Ledger:
    """Counts verdicts by status, and keeps the least recently used ones. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(GradeStatus, 0)
        self._grades: OrderedDict[_Key, Grade] = OrderedDict()

    def recall(self, key: _Key) -> Grade | None:
        """A verdict that is kept; counts it."""
        with self._lock:
            grade = self._grades.get(key)
            if grade is not None:
                self._grades.move_to_end(key)
                self._counts[grade.status] += 1
            return grade

    def record(self, key: _Key, grade: Grade) -> Grade:
        """Counts a new verdict and keeps it; recalling it will take no time worth mentioning."""
        with self._lock:
            self._counts[grade.status] += 1
            self._grades[key] = replace(grade, milliseconds=0.0)
            if len(self._grades) > self._size:
                self._grades.popitem(last=False)
        return grade

    def count(self, grade: Grade) -> Grade:
        """Counts a verdict without keeping it."""
        with self._lock:
            self._counts[grade.status] += 1
        return grade

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {status.value: count for status, count in self._counts.items()}


def grade(response: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
    """Grades one response with this process's own one-worker pool, made on first use; see ``GraderPool.grade``."""
    return _pool_of_process(os.getpid()).grade(response, gold, policy)


def grade_answer(answer: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
    """Grades the content of one box with this process's own pool; see ``GraderPool.grade_answer``."""
    return _pool_of_process(os.getpid()).grade_answer(answer, gold, policy)


@lru_cache(maxsize=1)
def _pool_of_process(_pid: int) -> GraderPool:
    return GraderPool()


_NO_BOX = Grade(GradeStatus.NO_BOX, "no complete, non-empty box", "extraction", None, 0.0)


def _result(outcome: "Grade | Future[Grade]") -> Grade:
    return outcome if isinstance(outcome, Grade) else outcome.result()


def _promised(outcome: "Grade | Future[Grade]") -> Future[Grade]:
    if isinstance(outcome, Future):
        return outcome
    done: Future[Grade] = Future()
    done.set_result(outcome)
    return done


async def _awaited(outcome: "Grade | Future[Grade]") -> Grade:
    return outcome if isinstance(outcome, Grade) else await asyncio.wrap_future(outcome)


def _is_short_integer(text: str) -> bool:
    return len(text) <= 18 and text.isascii() and text.removeprefix("-").isdigit()


def _grade(comparison: Comparison, path: str, answer: str, started: float) -> Grade:
    status = GradeStatus.CORRECT if comparison.equal else GradeStatus.WRONG
    path = "tolerance" if comparison.reason == WITHIN_TOLERANCE else path
    return Grade(status, comparison.reason, path, answer, _milliseconds_since(started))


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
