"""How fast the dashboard is over many trajectories: its start, every kind of page, and what a browser shows first.

    python benches/dashboard_speed.py --trajectories 100000

Synthetic trajectories go through the real builder and writer into a run directory, which `thor dashboard` serves in a
process of its own. Goals: any page of rollouts within 300 ms, the first paint within 1 s. Says which are missed.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from thor_ray.config import Recipe
from thor_ray.records import Learned, Stage
from thor_ray.runlog import RunLog
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
)

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PAGE_GOAL_MS = 300.0
PAINT_GOAL_MS = 1000.0
GROUP_SIZE = 8
GROUPS_PER_ROUND = 125
WORDS = (
    "we take the sum of all numbers below which divide by three and count how many are prime so the result is".split()
)

Timing = tuple[str, float, float]
"""What was asked for, the first answer and the median of the next ones, in milliseconds."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trajectories", type=int, default=100_000)
    arguments.add_argument("--repeats", type=int, default=7, help="of each request")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "synthetic"
        started = time.monotonic()
        write_synthetic_run(run, options.trajectories)
        size = sum(path.stat().st_size for path in (run / "records").iterdir()) / 2**20
        print(f"{options.trajectories} trajectories, {size:.0f} MiB, written in {time.monotonic() - started:.0f} s")
        started = time.monotonic()
        with served(run) as address, httpx.Client(base_url=address, timeout=120) as client:
            client.get("/api/rollouts", params={"run": "synthetic", "limit": 1}).raise_for_status()
            print(f"start of the server until the index is there: {time.monotonic() - started:.1f} s\n")
            timings = list(page_timings(client, options.repeats))
            paint = first_paint(f"{address}/?run=synthetic&view=rollouts")
    print_timings(timings, paint)
    slow = [name for name, first, usual in timings if name.startswith("page") and max(first, usual) > PAGE_GOAL_MS]
    missed = [*slow, *(["first paint"] if paint is not None and paint > PAINT_GOAL_MS else [])]
    print("all goals are met" if not missed else f"goals missed: {', '.join(missed)}")


def write_synthetic_run(path: Path, count: int) -> None:
    """A run with one RL round per thousand trajectories and a metrics line for each."""
    chance = random.Random(0)
    with RunLog.create(path, Recipe(name=path.name, seed=0), "train") as run, run.stage(Stage.RL):
        made = round_index = 0
        while made < count:
            groups = [
                synthetic_group(f"rl{round_index}/e{number}", round_index, chance)
                for number in range(min(GROUPS_PER_ROUND, -(-(count - made) // GROUP_SIZE)))
            ]
            learned = {one.id: Learned(advantage=chance.gauss(0, 1)) for group in groups for one in group.trajectories}
            write_round(run, groups, round_index, learned)
            made += GROUP_SIZE * len(groups)
            round_index += 1


def write_round(run: RunLog, groups: list[Group], round_index: int, learned: dict[str, Learned]) -> None:
    """One record file. Token ids stand for words, so that texts can be searched without a tokenizer."""
    from thor_ray.records import write_groups

    path = run.records / f"{Stage.RL}-{round_index:05d}.parquet"
    write_groups(path, groups, Stage.RL, round_index, decode=spoken, learned=learned)
    rewards = [one.reward for group in groups for one in group.trajectories if one.reward is not None]
    run.record_metrics(Stage.RL, round_index, {"reward": statistics.fmean(rewards), "tokens": 300 - round_index})


def spoken(ids: object) -> str:
    """A word for each token id."""
    return " ".join(f"{WORDS[number % len(WORDS)]}{number // len(WORDS) or ''}" for number in ids)  # type: ignore[attr-defined]


def synthetic_group(uid: str, version: int, chance: random.Random) -> Group:
    problem = f"problem-{chance.randrange(5000)}"
    members = tuple(synthetic_trajectory(f"{uid}/{number}", problem, version, chance) for number in range(GROUP_SIZE))
    return Group(uid, GroupKind.EPISODE, problem, members, "zero_variance" if chance.random() < 0.3 else None)


def synthetic_trajectory(name: str, problem: str, version: int, chance: random.Random) -> Trajectory:
    """Up to three programs; about 300 tokens."""

    def sampled(kind: SpanKind, tokens: int) -> None:
        log_probs = [-chance.random() for _ in range(tokens)]
        builder.append_sampled(kind, [chance.randrange(2000) for _ in range(tokens)], log_probs, version)

    builder = TrajectoryBuilder(name, problem, [chance.randrange(2000) for _ in range(60)])
    for _ in range(chance.randrange(4)):
        sampled(SpanKind.THOUGHT, 60)
        sampled(SpanKind.ACTION, 30)
        status = chance.choices(list(ExecutionStatus), [70, 5, 20, 4, 1])[0]
        result = ExecutionResult(status, "36", None, chance.random(), chance.random())
        seen = builder.append_written(SpanKind.OBSERVATION, [chance.randrange(2000) for _ in range(10)])
        builder.close_step(builder.spans[-2], seen, "print(sum(n for n in range(99) if n % 3 == 0))", result)
    sampled(SpanKind.ANSWER, 40)
    builder.cost.llm_seconds, builder.cost.tool_seconds = chance.expovariate(0.2), chance.expovariate(2)
    right = chance.random() < 0.5
    return builder.finish(FinishReason.ANSWERED, "36" if right else "35", "correct" if right else "wrong", float(right))


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of a dashboard process over ``run``."""
    command = [sys.executable, "-m", "thor_ray.cli", "dashboard", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield line.removeprefix("dashboard: ").strip().rstrip("/")
        finally:
            process.terminate()


def page_timings(client: httpx.Client, repeats: int) -> Iterator[Timing]:
    """Every kind of request that the page makes."""
    pages: dict[str, dict[str, str | int | list[str]]] = {
        "page, first": {},
        "page, far away": {"offset": 90_000},
        "page, by reward": {"order": "reward"},
        "page, by time": {"order": "seconds"},
        "page, by length, shortest first": {"order": "tokens", "ascending": "true"},
        "page, tool errors": {"status": ["tool_error"]},
        "page, wrong and tool error, by advantage": {"status": ["wrong", "tool_error"], "order": "advantage"},
        "page, one round": {"stage": "rl", "round": 7},
        "page, one problem": {"problem_id": "problem-77"},
        "page, search of ids": {"q": "rl9/e12/"},
        "page, search of texts": {"q": "prime57 "},
        "page, search of texts, another word": {"q": "sum3 "},
        "page, search of texts, common word": {"q": "the"},
    }
    for name, query in pages.items():
        yield timed(client, name, "/api/rollouts", {"limit": 50, **query}, repeats)
    yield timed(client, "trajectory", "/api/trajectory", {"id": "rl7/e3/2"}, repeats)
    yield timed(client, "tokens of it", "/api/tokens", {"id": "rl7/e3/2"}, repeats)
    yield timed(client, "group", "/api/group", {"uid": "rl7/e3"}, repeats)
    yield timed(client, "time of all", "/api/timing", {}, repeats)
    yield timed(client, "overview", "/api/overview", {}, repeats)
    yield timed(client, "status, asked every 2 s", "/api/status", {}, repeats)


def timed(client: httpx.Client, name: str, path: str, query: dict[str, str | int | list[str]], repeats: int) -> Timing:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        client.get(path, params={"run": "synthetic", **query}).raise_for_status()
        taken.append((time.perf_counter() - started) * 1000)
    return name, taken[0], statistics.median(taken[1:] or taken)


def first_paint(address: str) -> float | None:
    """Milliseconds until a browser with an empty cache shows the first page of rollouts; ``None`` without a browser."""
    if not CHROMIUM.exists():
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS.split())
        taken = []
        for _ in range(4):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto(address, wait_until="commit")
            page.wait_for_selector("table.rollouts tbody tr")
            taken.append(float(page.evaluate("performance.now()")))
            page.context.close()
        browser.close()
    return statistics.median(taken[1:])


def print_timings(timings: list[Timing], paint: float | None) -> None:
    print(f"{'request':<44}{'first, ms':>12}{'then, ms':>12}")
    for name, first, usual in timings:
        print(f"{name:<44}{first:>12.0f}{usual:>12.0f}")
    shown = "NOT MEASURED: no /usr/bin/chromium" if paint is None else f"{paint:.0f} ms"
    print(f"\nfirst paint of a page of rollouts, in a browser with an empty cache: {shown}")


if __name__ == "__main__":
    main()
