"""What one execution costs, side by side in one run: a fresh interpreter, a runner as others have it, and the sandbox.

    python benches/sandbox_speed.py [--rounds 12] [--json FILE]

The runners take turns, round by round, so that a busy machine is busy for all of them, and a ratio is the median of the
rounds' ratios. Wall time is what a caller waits; CPU time is what caller, supervisor, worker and program spend together and is
the figure to trust on a loaded machine. Always ends with exit code 0: a slow machine is no error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sandbox import Level, Result, Sandbox

PROGRAMS = {
    "print": "print(6 * 7)",
    "solve": "from sympy import symbols, solve\nx = symbols('x')\nprint(solve(x**2 - 5*x + 6, x))",
}
ENDLESS = "while True: pass"
ENDLESS_SECONDS = 0.2
ENDLESS_CALLS = 10
SECONDS_TO_FORK = 0.02
"""Pause before each call of the pre-forked row, in which the child is made that the call takes; its CPU time counts."""
PER_CALL, CONFINED, SPARE, SESSION = "process per call", "sandbox, level 2", "pre-forked child", "session step"
LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Count:
    """How often a program runs in each round: by the runners that start an interpreter, and by the others."""

    cold: int
    warm: int
    batch: int


COUNTS = {"print": Count(cold=5, warm=30, batch=60), "solve": Count(cold=2, warm=15, batch=30)}


class Execute(Protocol):
    """Runs a program to its end; returns the CPU seconds of processes that this process has not waited for."""

    def __call__(self, code: str) -> float: ...


@dataclass(frozen=True, slots=True)
class Runner:
    """One row of the table.

    Attributes:
        name: of the row.
        execute: runs a program.
        is_cold: whether each execution starts an interpreter.
        workers: process ids whose CPU time counts.
        pause: seconds to wait before each execution, outside its wall time.
        core: the core that the calling thread runs on; None for any.
    """

    name: str
    execute: Execute
    is_cold: bool = False
    workers: tuple[int, ...] = ()
    pause: float = 0.0
    core: int | None = None

    def turn(self, code: str, times: int) -> tuple[list[float], float]:
        """Runs a program several times; returns the wall milliseconds of each and the mean CPU milliseconds."""
        walls, elsewhere = [], 0.0
        with pinned(self.core):
            before = self._cpu_seconds()
            for _ in range(times):
                time.sleep(self.pause)
                begun = time.perf_counter()
                elsewhere += self.execute(code)
                walls.append(1000 * (time.perf_counter() - begun))
            cpu = self._cpu_seconds() - before + elsewhere
        return walls, 1000 * cpu / times

    def _cpu_seconds(self) -> float:
        """Of this process, of the children that it has waited for, and of the workers; not of the workers' children."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        nanoseconds = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in self.workers)
        return time.process_time() + ended.ru_utime + ended.ru_stime + nanoseconds / 1e9


@dataclass
class Samples:
    """What was measured of one runner and one program.

    Attributes:
        wall_ms: of each execution.
        cpu_ms: mean of each round.
    """

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, the bound that it should keep, and on which side of it."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keeps the calling thread, and the threads and processes that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# The runners.


def run_fresh(code: str) -> float:
    """`python -c`."""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return 0.0


async def run_per_call(code: str) -> None:
    """What most projects do, SandboxFusion's default among them: a file, an interpreter, its output. It confines nothing."""
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "program.py")  # noqa: PTH118 - as its users write it
        with open(program, "w") as file:  # noqa: ASYNC230, PTH123
            file.write(code)
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, cwd=directory, stdin=null, stdout=pipe, stderr=pipe
        )
        _, complaints = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
        if process.returncode != 0:
            raise SystemExit(f"the program failed: {complaints.decode()}")


def confined(run: Callable[[str], Result]) -> Execute:
    """Of a sandbox or a session."""

    def execute(code: str) -> float:
        result = run(code)
        if not result.ok:
            raise SystemExit(f"the program ended with {result.status}: {result.stderr}")
        return (result.cpu_user_ms + result.cpu_sys_ms) / 1000

    return execute


def children(pid: int) -> set[int]:
    """Process ids of a process's children."""
    return {
        int(each) for task in Path(f"/proc/{pid}/task").iterdir() for each in (task / "children").read_text().split()
    }


@contextlib.contextmanager
def opened(**options: Any) -> Iterator[tuple[Sandbox, tuple[int, ...]]]:
    """A sandbox with the process ids of its workers."""
    before = children(os.getpid())
    with Sandbox(**options) as sandbox:
        workers = children(os.getpid()) - before
        if sandbox.isolation.namespaces:  # there a worker is the first process of a namespace, which another one guards
            workers |= {inner for outer in workers for inner in children(outer)}
        yield sandbox, tuple(workers)


def open_runners(stack: contextlib.ExitStack) -> tuple[list[Runner], asyncio.Runner]:
    """All rows, with a sandbox for each that needs one, and the loop of the runner per call."""
    loop = stack.enter_context(asyncio.Runner())

    def per_call(code: str) -> float:
        loop.run(run_per_call(code))
        return 0.0

    runners = [Runner("python -c", run_fresh, is_cold=True), Runner(PER_CALL, per_call, is_cold=True)]
    level_2 = {"workers": 1, "min_level": Level.CONFINED, "max_level": Level.CONFINED}
    sandbox, workers = stack.enter_context(opened(**level_2))
    runners.append(Runner(CONFINED, confined(sandbox.run), workers=workers))
    highest, inner = stack.enter_context(opened(workers=1))
    if highest.isolation.level > Level.CONFINED:
        runners.append(Runner(f"sandbox, level {highest.isolation.level:d}", confined(highest.run), workers=inner))
    spare, workers = stack.enter_context(opened(**level_2, spare_children=1))
    runners.append(Runner(SPARE, confined(spare.run), workers=workers, pause=SECONDS_TO_FORK))
    for core in (None, min(os.sched_getaffinity(0))):
        with pinned(core):
            sandbox, workers = stack.enter_context(opened(**level_2))
            session = stack.enter_context(sandbox.session(on_error="keep"))
        name = SESSION if core is None else f"{SESSION}, one core"
        runners.append(Runner(name, confined(session.step), workers=workers, core=core))
    return runners, loop


def measure(runners: Sequence[Runner], code: str, count: Count, rounds: int) -> dict[str, Samples]:
    """Has the runners take turns."""
    samples = {runner.name: Samples() for runner in runners}
    for number in range(rounds + 1):
        for runner in runners:
            walls, cpu = runner.turn(code, count.cold if runner.is_cold else count.warm)
            if number > 0:  # the first round warms up
                samples[runner.name].wall_ms += walls
                samples[runner.name].cpu_ms.append(cpu)
    return samples


def summary(samples: dict[str, Samples]) -> dict[str, dict[str, float]]:
    """A row of figures for each runner; ratios are against the process per call, above 1 where the runner is cheaper."""
    base = samples[PER_CALL]
    rows = {}
    for name, each in samples.items():
        percentiles = statistics.quantiles(each.wall_ms, n=100, method="inclusive")
        rows[name] = {
            "executions": len(each.wall_ms),
            "wall_ms_p50": percentiles[49],
            "wall_ms_p95": percentiles[94],
            "wall_ms_p99": percentiles[98],
            "cpu_ms": statistics.median(each.cpu_ms),
            "per_second": 1000 / statistics.fmean(each.wall_ms),
            "wall_ratio": statistics.median(base.wall_ms) / percentiles[49],
            "cpu_ratio": statistics.median(one / other for one, other in zip(base.cpu_ms, each.cpu_ms, strict=True)),
        }
    return rows


# All cores.


def measure_batches(loop: asyncio.Runner, code: str, count: Count, rounds: int) -> dict[str, float]:
    """Executions a second with all cores at work: the process per call, a batch in the sandbox, and their ratio."""
    cores = len(os.sched_getaffinity(0))

    async def crowd() -> None:
        turns = asyncio.Semaphore(cores)

        async def one() -> None:
            async with turns:
                await run_per_call(code)

        await asyncio.gather(*(one() for _ in range(count.cold * cores)))

    per_call, batch = [], []
    with Sandbox(workers=cores, max_level=Level.CONFINED) as sandbox:
        sandbox.run_batch([code] * cores)
        for _ in range(rounds):
            begun = time.perf_counter()
            loop.run(crowd())
            per_call.append(count.cold * cores / (time.perf_counter() - begun))
            begun = time.perf_counter()
            results = sandbox.run_batch([code] * (count.batch * cores))
            batch.append(len(results) / (time.perf_counter() - begun))
            if not all(result.ok for result in results):
                raise SystemExit("a program of a batch failed")
    return {
        "cores": cores,
        "process_per_call": statistics.median(per_call),
        "sandbox": statistics.median(batch),
        "ratio": statistics.median(one / other for one, other in zip(batch, per_call, strict=True)),
    }


def longest_overrun() -> float:
    """How much longer than its timeout, in seconds, a call takes whose program never ends."""
    with Sandbox(workers=1, preload=(), max_level=Level.CONFINED) as sandbox:
        taken = []
        for _ in range(ENDLESS_CALLS):
            begun = time.perf_counter()
            sandbox.run(ENDLESS, timeout=ENDLESS_SECONDS)
            taken.append(time.perf_counter() - begun)
    return max(taken) - ENDLESS_SECONDS


# What is said of it.


def goals(figures: dict[str, dict[str, dict[str, float]]], overrun: float) -> list[Goal]:
    """What the sandbox is meant to reach."""
    print_row, solve_row = figures["print"], figures["solve"]
    return [
        Goal("solve, level 2: CPU ratio to a process per call", solve_row[CONFINED]["cpu_ratio"], 40, at_least=True),
        Goal("print, level 2: CPU ratio to a process per call", print_row[CONFINED]["cpu_ratio"], 6, at_least=True),
        Goal("print, pre-forked: wall p50 (ms)", print_row[SPARE]["wall_ms_p50"], 0.2),
        Goal("print, session step: wall p50 (ms)", print_row[SESSION]["wall_ms_p50"], 0.05),
        Goal("endless program: longest overrun (s)", overrun, 1.0),
    ]


def report(
    figures: dict[str, dict[str, dict[str, float]]], batches: dict[str, dict[str, float]], reached: Sequence[Goal]
) -> None:
    """Prints the tables."""
    names = ("n", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "per s", "wall x", "CPU x")
    print(f"{'program':9}{'runner':24}" + "".join(f"{name:>10}" for name in names))
    for program, rows in figures.items():
        for runner, row in rows.items():
            cells = "".join(f"{value:10.0f}" if value >= 100 else f"{value:10.3g}" for value in row.values())
            print(f"{program:9}{runner:24}{cells}")
    for program, batch in batches.items():
        print(
            f"{program:9}all {batch['cores']:.0f} cores: {batch['process_per_call']:.3g} a second by a process per call, "
            f"{batch['sandbox']:.3g} by run_batch at level 2: {batch['ratio']:.3g} x"
        )
    for goal in reached:
        side = "at least" if goal.at_least else "at most"
        print(f"{goal.name:50}{side} {goal.bound:<6g}{goal.value:8.3g}   {'reached' if goal.is_met else 'MISSED'}")


def main() -> None:
    """Reads the command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=12)
    arguments.add_argument("--batch-rounds", type=int, default=3)
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    options = arguments.parse_args()
    with contextlib.ExitStack() as stack:
        runners, loop = open_runners(stack)
        figures = {
            name: summary(measure(runners, code, COUNTS[name], options.rounds)) for name, code in PROGRAMS.items()
        }
        batches = {
            name: measure_batches(loop, code, COUNTS[name], options.batch_rounds) for name, code in PROGRAMS.items()
        }
    reached = goals(figures, longest_overrun())
    report(figures, batches, reached)
    if options.json:
        said = [{"name": each.name, "value": each.value, "bound": each.bound, "met": each.is_met} for each in reached]
        options.json.write_text(json.dumps({"rows": figures, "batches": batches, "goals": said}, indent=2))


if __name__ == "__main__":
    main()
