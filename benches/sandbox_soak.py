"""Runs many programs, a tenth of them hostile, and sees whether the sandbox comes out of it as it went in.

    python benches/sandbox_soak.py --executions 100000 [--json FILE]

Honest programs and cases of the attack suite, in a drawn order that repeats with the seed, alone and as steps of sessions, several
at a time. After each of twenty rounds everything comes to rest, and processes, descriptors, threads, files, listeners, a canary
and this process's memory are looked at. Ends with exit code 1 if a goal was missed.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import gc
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the attacks are tests, and those are not installed

from sandbox import Result, Sandbox, Status
from sandbox.zygote import default_library_paths
from tests.integration.sandbox.attacks.arena import Arena
from tests.integration.sandbox.attacks.case import ANY_END, Case, Mode, Outcome
from tests.integration.sandbox.attacks.table import THEMES
from tests.integration.sandbox.attacks.watch import Watch

PRELOAD = ("numpy", "sympy")
ROUNDS = 20
SLOW_SHARE = 0.05
"""Part of the hostile programs that run into a limit; they take a hundred times as long as the others."""
SLOW_SECONDS = 0.3
SESSION_STEPS = 8
HUNG_SECONDS = 60.0
"""A call that has not returned so long after its timeout never will. (It may have waited its turn.)"""
POLL_SECONDS = 0.05
M_ARENA_MAX = -8
"""A parameter's number in <malloc.h>."""
MAX_OVERRUN_SECONDS = 1.0
MAX_GROWTH_PERCENT = 5.0

HONEST = {
    "print": ("print(6 * 7)", Outcome(Status.OK, stdout="42\n")),
    "loop": ("print(sum(i * i for i in range(10_000)))", Outcome(Status.OK, stdout="333283335000\n")),
    "solve": (
        "from sympy import symbols, solve\nx = symbols('x')\nprint(solve(x**2 - 5*x + 6, x))",
        Outcome(Status.OK, stdout="[2, 3]\n"),
    ),
    "array": ("import numpy\nprint(numpy.arange(10).sum())", Outcome(Status.OK, stdout="45\n")),
    "text": ("print('x' * 20_000)", Outcome(Status.OK, stdout="x" * 20_000 + "\n")),
    "file": (
        "import os\nopen('f', 'w').write('x')\nprint(open('f').read())\nos.unlink('f')",
        Outcome(Status.OK, stdout="x\n"),
    ),
    "sleep": ("import time\ntime.sleep(0.005)\nprint(1)", Outcome(Status.OK, stdout="1\n")),
    "error": ("print(1)\n1 / 0", Outcome(Status.RUNTIME_ERROR, stdout="1\n", exc_types=("ZeroDivisionError",))),
    "mistake": ("print(1", Outcome(Status.SYNTAX_ERROR, exc_types=("SyntaxError",))),
    "exit": ("import sys\nsys.exit(3)", Outcome(Status.EXIT, exit_code=3)),
}


@dataclass(frozen=True, slots=True)
class Work:
    """A program and what may become of it."""

    name: str
    kind: str
    program: str
    timeout: float
    accepted: tuple[Outcome, ...]


Batch = tuple[Mode, list[Work]]
"""Programs that one thread runs one after the other; in a session, or each alone."""


class Mix:
    """Draws what to run. The same seed draws the same.

    Args:
        seed: of the draws.
        hostile: part of the programs that come from the attack suite.
        aim: fills the attacks' targets in.
    """

    def __init__(self, seed: int, hostile: float, aim: Callable[[str], str]) -> None:
        self._random = random.Random(seed)
        self._hostile_share = hostile
        self._aim = aim
        applicable = [
            (theme, case)
            for theme, cases in THEMES.items()
            for case in cases
            if case.modes == tuple(Mode)
            and set(case.needs) <= set(PRELOAD)
            and case.machine in (None, os.uname().machine)
        ]
        self._slow = [case for theme, case in applicable if is_slow(theme, case)]
        self._quick = [case for theme, case in applicable if not is_slow(theme, case)]

    def each_once(self) -> list[Work]:
        """Every program there is, alone."""
        return [
            *map(self._honest, HONEST),
            *(self._attack(case, Mode.ONE_SHOT) for case in (*self._quick, *self._slow)),
        ]

    def draw(self, mode: Mode) -> Work:
        """The next program to run in a mode."""
        if self._random.random() >= self._hostile_share:
            return self._honest(self._random.choice(tuple(HONEST)))
        cases = self._slow if self._random.random() < SLOW_SHARE else self._quick
        return self._attack(self._random.choice(cases), mode)

    def batches(self, executions: int, sessions: float) -> Iterator[Batch]:
        """Draws so many programs, a part of them as steps of sessions."""
        while executions > 0:
            if self._random.random() < sessions / (SESSION_STEPS * (1 - sessions) + sessions):
                steps = min(executions, SESSION_STEPS)
                yield Mode.SESSION, list(self.draw_session(steps))
                executions -= steps
            else:
                yield Mode.ONE_SHOT, [self.draw(Mode.ONE_SHOT)]
                executions -= 1

    def draw_session(self, steps: int) -> Iterator[Work]:
        """The steps of a session; what an attack has left may make the later ones end anyhow."""
        attacked = False
        for _ in range(steps):
            work = self.draw(Mode.SESSION)
            yield replace(work, kind="aftermath", accepted=ANY_END) if attacked else work
            attacked = attacked or work.kind == "hostile"

    def _honest(self, name: str) -> Work:
        program, outcome = HONEST[name]
        return Work(name, "honest", program, 10.0, (outcome,))

    def _attack(self, case: Case, mode: Mode) -> Work:
        program, accepted = self._aim(case.program), case.accepted(mode)
        if case in self._slow:
            return Work(
                case.id, "hostile", program, min(case.timeout, SLOW_SECONDS), (*accepted, Outcome(Status.TIMEOUT))
            )
        return Work(case.id, "hostile", program, case.timeout, accepted)


def is_slow(theme: str, case: Case) -> bool:
    """Whether a case fills up memory, compiles a megabyte, or runs into its timeout."""
    return theme in ("memory", "computed") or any(outcome.status is Status.TIMEOUT for outcome in case.accepts)


@dataclass
class Tally:
    """What was seen so far; for all threads, under `lock`.

    Attributes:
        statuses: how often programs of each kind ended in each way.
        surprises: programs that ended as none of theirs may.
        overrun_seconds: the longest that a call took beyond its timeout, from its dispatch on.
        leftovers: what was found at rest that had not been there before, or was harmed.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    statuses: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    surprises: list[str] = field(default_factory=list)
    overrun_seconds: float = 0.0
    leftovers: list[str] = field(default_factory=list)

    def add(self, work: Work, result: Result, elapsed: float) -> None:
        """Takes a call in."""
        fields = {name: getattr(result, name) for name in ("status", "stdout", "exc_type", "exit_code", "signal")}
        with self.lock:
            self.statuses[work.kind, result.status] += 1
            self.overrun_seconds = max(self.overrun_seconds, elapsed - result.queue_ms / 1000 - work.timeout)
            if not any(outcome.matches(fields) for outcome in work.accepted):
                self.surprises.append(
                    f"{work.name}: {result.status} {result.stdout[-200:]!r} {result.exc_message!r:.300}"
                )


class Soak:
    """Runs programs in several threads, a session at a time in each."""

    def __init__(self, sandbox: Sandbox, in_flight: int, tally: Tally) -> None:
        self._sandbox = sandbox
        self._in_flight = in_flight
        self._tally = tally
        self._lock = threading.Lock()
        self._calls: dict[int, tuple[Work, float]] = {}

    def run(self, batches: Iterator[Batch]) -> list[str]:
        """Runs programs and waits for all of them; returns the names of those whose calls hang."""
        threads = [threading.Thread(target=self._work, args=(batches,), daemon=True) for _ in range(self._in_flight)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(POLL_SECONDS)
            if hung := self._hung():
                return hung
        return []

    def _work(self, batches: Iterator[Batch]) -> None:
        while (batch := self._take(batches)) is not None:
            mode, programs = batch
            if mode is Mode.ONE_SHOT:
                for work in programs:
                    self._call(work, self._sandbox.run)
                continue
            with self._sandbox.session() as session:
                for work in programs:
                    self._call(work, session.step)

    def _take(self, batches: Iterator[Batch]) -> Batch | None:
        with self._lock:
            return next(batches, None)

    def _call(self, work: Work, run: Callable[..., Result]) -> None:
        begun = time.monotonic()
        self._calls[threading.get_ident()] = (work, begun)
        result = run(work.program, timeout=work.timeout)
        del self._calls[threading.get_ident()]
        self._tally.add(work, result, time.monotonic() - begun)

    def _hung(self) -> list[str]:
        now = time.monotonic()
        return [work.name for work, begun in tuple(self._calls.values()) if now > begun + work.timeout + HUNG_SECONDS]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and the bound that it must keep."""

    name: str
    value: float
    bound: float

    @property
    def is_met(self) -> bool:
        return self.value <= self.bound


def keep_one_heap() -> None:
    """Has all threads allocate from one heap, before there are any.

    `malloc_trim` gives back the free end of the first heap only. With a heap for each thread a megabyte that some call once
    took would look like one that somebody still holds, whichever thread took it.
    """
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def resident_bytes() -> int:
    """Memory that this process occupies, without what it holds free: a large output leaves holes of its size for a while."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Does it; returns the figures."""
    tempfile.tempdir = tempfile.mkdtemp(prefix="sandbox-soak-")  # where nobody else leaves anything
    mark = tempfile.mkdtemp(prefix="mark-")  # an empty library directory, to know the workers by
    tally = Tally()
    sandbox = Sandbox(
        workers=options.workers, preload=PRELOAD, library_paths=[*default_library_paths(), mark], memory_budget=2 << 30
    )
    with Arena() as arena, sandbox:
        mix, work = Mix(options.seed, options.hostile, arena.aim), Soak(sandbox, options.in_flight, tally)
        hung = work.run((Mode.ONE_SHOT, [each]) for each in mix.each_once())  # the memory that they take is no growth
        watch, memory = Watch(mark), [resident_bytes()]
        tally.statuses.clear()
        begun, seconds = time.monotonic(), 0.0
        for count in parts(options.executions, ROUNDS):
            hung = hung or work.run(mix.batches(count, options.sessions))
            if hung:
                break
            seconds += time.monotonic() - begun
            tally.leftovers += arena.harm() + watch.growth()
            memory.append(resident_bytes())
            begun = time.monotonic()
        level = int(sandbox.isolation.level)
    if not hung:
        tally.leftovers += map(str, watch.relatives())
    shutil.rmtree(tempfile.tempdir)
    return figures(tally, options.executions, hung, memory, seconds, level)


def parts(total: int, number: int) -> Iterator[int]:
    """Splits a number into parts of nearly the same size, leaving out those that are zero."""
    sizes = (total * (index + 1) // number - total * index // number for index in range(number))
    return filter(None, sizes)


def figures(
    tally: Tally, wanted: int, hung: list[str], memory: list[int], seconds: float, level: int
) -> dict[str, Any]:
    """All that is to be said, with the goals.

    Args:
        tally: what was seen.
        wanted: executions that were asked for.
        hung: names of the programs whose calls hang.
        memory: resident bytes of this process, before the first round and after each.
        seconds: what the rounds took.
        level: the isolation level.
    """
    growth = 100 * (memory[-1] / memory[0] - 1)
    executions = sum(tally.statuses.values())
    failures = sum(count for (_, status), count in tally.statuses.items() if status == Status.SANDBOX_ERROR)
    goals = [
        Goal("leftovers", len(tally.leftovers), 0),
        Goal("hung calls", len(hung), 0),
        Goal("calls without a result", wanted - executions, 0),
        Goal("failures of the sandbox", failures, 0),
        Goal("unexpected ends", len(tally.surprises), 0),
        Goal("longest overrun (s)", round(tally.overrun_seconds, 3), MAX_OVERRUN_SECONDS),
        Goal("growth of resident memory (%)", round(growth, 2), MAX_GROWTH_PERCENT),
    ]
    return {
        "executions": executions,
        "level": level,
        "executions_per_second": round(executions / seconds, 1) if seconds else 0.0,
        "goals": {goal.name: {"value": goal.value, "bound": goal.bound, "met": goal.is_met} for goal in goals},
        "statuses": {f"{kind} {status}": count for (kind, status), count in sorted(tally.statuses.items())},
        "resident_mib": [round(each / 2**20, 1) for each in memory],
        "leftovers": tally.leftovers,
        "hung": hung,
        "unexpected": tally.surprises[:50],
    }


def report(found: dict[str, Any]) -> None:
    """Prints the figures as a table."""
    print(f"{found['executions']} executions at level {found['level']}, {found['executions_per_second']} a second")
    for name, goal in found["goals"].items():
        print(f"  {name:32}{goal['value']:>10}   at most {goal['bound']:<6}{'ok' if goal['met'] else 'MISSED'}")
    for name, count in found["statuses"].items():
        print(f"  {name:32}{count:>10}")
    for kind in ("leftovers", "hung", "unexpected"):
        for text in found[kind]:
            print(f"  {kind}: {text}")


def main() -> None:
    """Reads the command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--executions", type=int, default=10_000)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--in-flight", type=int, default=4, help="calls at a time")
    arguments.add_argument("--hostile", type=float, default=0.1, help="part of the programs that are attacks")
    arguments.add_argument(
        "--sessions", type=float, default=0.3, help="part of the programs that are steps of sessions"
    )
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    options = arguments.parse_args()
    keep_one_heap()
    found = soak(options)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    sys.stdout.flush()
    os._exit(0 if all(goal["met"] for goal in found["goals"].values()) else 1)  # a call that hangs must not hold us up


if __name__ == "__main__":
    main()
