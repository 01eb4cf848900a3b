"""What one execution costs, side by side in one run: a fresh interpreter, and the sandbox.

    python benches/sandbox_speed.py [--rounds 20] [--json FILE]

The runners take turns, so that a busy machine is busy for all of them. Wall time is what a caller waits; CPU time is what
supervisor, zygote and program spend together and is the figure to trust on a loaded machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sandbox import Sandbox

PROGRAMS = {
    "print": "print(6 * 7)",
    "solve": "from sympy import symbols, solve\nx = symbols('x')\nprint(solve(x**2 - 5*x + 6, x))",
}
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument(
        "--per-round", type=int, default=5, help="executions in the sandbox for each fresh interpreter"
    )
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    options = arguments.parse_args()
    with Sandbox(workers=1) as sandbox:
        figures = {name: measure(sandbox, code, options.rounds, options.per_round) for name, code in PROGRAMS.items()}
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def measure(sandbox: Sandbox, code: str, rounds: int, per_round: int) -> dict[str, dict[str, float]]:
    """Milliseconds per execution of both runners, measured in turns."""
    wall: dict[str, list[float]] = {"python -c": [], "sandbox": []}
    cpu: dict[str, list[float]] = {"python -c": [], "sandbox": []}
    for _ in range(rounds):
        timed(
            "python -c",
            lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True),
            wall,
            cpu,
        )
        for _ in range(per_round):
            timed("sandbox", lambda: expect_ok(sandbox, code), wall, cpu)
    return {
        runner: {
            "executions": len(wall[runner]),
            "wall_ms_p50": statistics.median(wall[runner]),
            "wall_ms_p99": statistics.quantiles(wall[runner], n=100, method="inclusive")[98],
            "cpu_ms_mean": statistics.fmean(cpu[runner]),
        }
        for runner in wall
    }


def timed(
    runner: str, execute: Callable[[], object], wall: dict[str, list[float]], cpu: dict[str, list[float]]
) -> None:
    wall_before, cpu_before = time.perf_counter(), cpu_seconds()
    execute()
    wall[runner].append(1000 * (time.perf_counter() - wall_before))
    cpu[runner].append(1000 * (cpu_seconds() - cpu_before))


def expect_ok(sandbox: Sandbox, code: str) -> None:
    result = sandbox.run(code)
    if not result.ok:
        raise SystemExit(f"the program ended with {result.status}: {result.stderr}")


def cpu_seconds() -> float:
    """CPU time of this process, of children that have ended, and of the living ones (zygotes) with their own children."""
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / TICKS_PER_SECOND
    return total


def report(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"{'program':9}{'runner':12}{'n':>6}{'wall p50':>12}{'wall p99':>12}{'CPU mean':>12}   (ms)")
    for program, runners in figures.items():
        for runner, row in runners.items():
            print(
                f"{program:9}{runner:12}{row['executions']:6.0f}{row['wall_ms_p50']:12.1f}"
                f"{row['wall_ms_p99']:12.1f}{row['cpu_ms_mean']:12.1f}"
            )
        fresh, warm = runners["python -c"], runners["sandbox"]
        print(
            f"{program:9}fresh interpreter / sandbox: {fresh['wall_ms_p50'] / warm['wall_ms_p50']:.1f} x by wall time, "
            f"{fresh['cpu_ms_mean'] / warm['cpu_ms_mean']:.1f} x by CPU time"
        )


if __name__ == "__main__":
    main()
