"""Looks at the run's actors from time to time, beside whatever they are doing, and writes down what it saw."""

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, Final

import psutil
import ray

from actors.supervision import LOSSES
from thor_ray.files import MEBIBYTE
from thor_ray.fleet_record import FLEET_FILE, EngineSeen, FleetLook, ProcessSeen
from thor_ray.run_state import timestamp
from thor_ray.runlog import RunLog
from thor_ray.stages.workers import Workers

LOOK_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 5.0
"""How long an engine may take to tell its figures; it does so beside its work."""

_MARKS: Final = ("ray::", "VLLM::")
"""Beginnings of what actors and engines call their processes."""


@contextlib.contextmanager
def fleet_watched(workers: Workers, log: RunLog, *, learners: bool, seconds: float = LOOK_SECONDS) -> Iterator[None]:
    """Appends a look at all actors to the run's ``logs/fleet.jsonl`` every few seconds while the block runs.

    What is asked for are totals that the actors keep anyway: no engine computes anything for it.

    Args:
        workers: Whose actors.
        log: Of the run.
        learners: Whether there are any.
        seconds: Between two looks.
    """
    ended = Event()
    thread = Thread(target=_watch, args=(workers, log, learners, seconds, ended), name="fleet watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * ANSWER_SECONDS)


def look_at(workers: Workers, before: Sequence[EngineSeen], attempt: int, *, learners: bool) -> FleetLook:
    """One look at all actors; an engine that does not answer is as it was ``before``."""
    now = timestamp(datetime.now(UTC))
    asked = [
        () if actor is None else (actor.version.remote(), actor.stats.remote())
        for actor in workers.fleet.supervisor.places
    ]
    references = [reference for pair in asked for reference in pair]
    ready = set(ray.wait(references, num_returns=len(references), timeout=ANSWER_SECONDS)[0]) if references else set()
    engines = tuple(
        _engine(told, old, now) if (told := _told(pair, ready)) else replace(old, answers=False)
        for pair, old in zip(asked, before, strict=True)
    )
    version = workers.learners.version if learners else None
    return FleetLook(now, attempt, version, engines, tuple(_processes()))


def _watch(workers: Workers, log: RunLog, learners: bool, seconds: float, ended: Event) -> None:
    engines: Sequence[EngineSeen] = [EngineSeen(answers=False)] * len(workers.fleet.supervisor.places)
    attempt = log.state().attempt
    with (log.logs / FLEET_FILE).open("ab", buffering=0) as file:
        while not ended.is_set():
            try:
                look = look_at(workers, engines, attempt, learners=learners)
            except (ray.exceptions.RayError, OSError):
                # The cluster itself is gone: whoever works with it says so, and how.
                return
            engines = look.engines
            file.write(look.to_line())
            ended.wait(seconds)


def _told(pair: Sequence[Any], ready: Collection[Any]) -> list[Any]:
    """What an engine answered; nothing where it has not, or has died: whoever works with it sees to that."""
    if not pair or not set(pair) <= set(ready):
        return []
    try:
        return list(ray.get(list(pair), timeout=ANSWER_SECONDS))
    except LOSSES:
        return []


def _engine(told: Sequence[Any], old: EngineSeen, now: str) -> EngineSeen:
    version, totals = told
    tokens = int(totals["generated_tokens"])
    return EngineSeen(
        answers=True,
        version=version,
        generated_tokens=tokens,
        generated_at=now if tokens > old.generated_tokens else old.generated_at,
        sandbox_calls=int(totals["sandbox_calls"]),
        infra_errors=int(totals["infra_errors"]),
        program_seconds=round(float(totals["program_seconds"]), 3),
        queue_seconds=round(float(totals["queue_seconds"]), 3),
    )


def _processes() -> Iterator[ProcessSeen]:
    """This process and, of a cluster of our own, its actors and their engines."""
    me = psutil.Process(os.getpid())
    yield ProcessSeen(me.pid, "driver", me.memory_info().rss // MEBIBYTE)
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            title = process.cmdline()[0]
            if (mark := next((mark for mark in _MARKS if title.startswith(mark)), None)) and ":IDLE" not in title:
                name = title.removeprefix(mark).partition(".")[0].split()[0]
                yield ProcessSeen(process.pid, name, process.memory_info().rss // MEBIBYTE)
