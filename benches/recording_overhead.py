"""What recording costs the loop: the rounds of a finished run are recorded once more, and compared with what they took.

    python benches/recording_overhead.py runs/smoke

Everything that the loop's own thread does to be seen is timed: trajectories with their texts, figures of the round, alarms,
and TensorBoard. Both sides of the comparison come from one machine; the goal is 2 % of a round at the most. Processor time
is shown beside wall time, since it says the same on a machine that others keep busy.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thor_ray.alarms import AlarmBell
from thor_ray.metrics import round_metrics
from thor_ray.records import Stage, read_groups
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog
from thor_ray.tracking.tensorboard import TensorBoardSink

GOAL = 0.02


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="a run directory whose stage `rl` is finished")
    run = RunDirectory(arguments.parse_args().run)
    files = run.record_files(Stage.RL)
    seconds = run.state().stages[Stage.RL].seconds
    if seconds is None or not files:
        raise SystemExit(f"{run.path} has no finished stage `rl`")
    wall, processor = [], []
    for taken in recordings(run, files):
        wall.append(taken[0])
        processor.append(taken[1])
    each = seconds / len(files)
    print(f"{len(files)} rounds of {run.name}, {each:.2f} s each when they were run")
    for name, values in (("wall", wall), ("processor", processor)):
        mean = statistics.fmean(values)
        print(
            f"recording, {name:<10}{mean * 1000:8.1f} ms a round, {mean / each:7.2%} of it (worst {max(values) * 1000:.0f} ms)"
        )
    held = statistics.fmean(processor) <= GOAL * each
    print(f"the goal of {GOAL:.0%} is {'met' if held else 'missed'}, by processor time")


def recordings(run: RunDirectory, files: list[Path]) -> Iterator[tuple[float, float]]:
    """Wall and processor seconds that recording each round took."""
    lines = {line.round: line.metrics for line in run.metrics(Stage.RL) if "reward" in line.metrics}
    with tempfile.TemporaryDirectory() as folder, RunLog.create(Path(folder) / "again", run.recipe(), "train") as log:
        log.keep_tokenizer(run.tokenizer)
        log.attach(AlarmBell([], print))
        log.attach(TensorBoardSink(log.path / "tensorboard"))
        warm_up(log, files[0])
        with log.stage(Stage.RL):
            for number, file in enumerate(files):
                groups = read_groups([file])
                with stopwatch() as taken:
                    log.record_groups(groups, Stage.RL, number)
                    log.record_metrics(Stage.RL, number, {**lines[number], **round_metrics(groups, 1.0)})
                    log.record_publication(Stage.RL, number, number + 1, True, 0.0)
                yield taken[0], taken[1]


def warm_up(log: RunLog, file: Path) -> None:
    """What only the first round of a run pays for: imports, the tokenizer, files that are opened."""
    groups = read_groups([file])
    log.record_groups(groups, Stage.SOLVE, 0)
    log.record_metrics(Stage.RL, 0, round_metrics(groups, 1.0))


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Yields a list that holds wall and processor seconds of the block once it is over."""
    taken: list[float] = []
    wall, processor = time.perf_counter(), time.process_time()
    yield taken
    taken += [time.perf_counter() - wall, time.process_time() - processor]


if __name__ == "__main__":
    main()
