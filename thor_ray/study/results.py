"""What finished runs of a study say, row by row and seed by seed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from thor_ray.evaluation.analysis import evaluation_report
from thor_ray.evaluation.figures import BenchmarkFigures
from thor_ray.evaluation.significance import ContingencyTable
from thor_ray.evaluation.sources import stage_evaluation
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.study.design import StudyRow

SEED: Final = "seed-"
RESAMPLES: Final = 1_000
"""Of the intervals within one seed, which the study does not show."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """An RL round.

    Attributes:
        tokens: Sampled in all rounds up to here, branches and discarded attempts included.
        reward: Mean of the round's episodes; ``None`` where none was judged.
        failing_share: Of the round's executed blocks; ``None`` without any.
    """

    tokens: int
    reward: float | None
    failing_share: float | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a seed was run, and with what.

    Attributes:
        commits: Of the code.
        machine: What is known of it, as text.
        settings: Digest of the recipe by run, without what differs between seeds.
    """

    commits: tuple[str, ...]
    machine: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed.

    Attributes:
        seed: Which.
        origin: Where it was run.
        rows: Figures by row, of those that are finished.
        curves: RL rounds by run.
        seconds: Of each finished stage, by run.
    """

    seed: int
    origin: Origin
    rows: Mapping[str, BenchmarkFigures]
    curves: Mapping[str, tuple[CurvePoint, ...]]
    seconds: Mapping[str, Mapping[str, float]]


def run_place(place: Path, seed: int, run: str) -> Path:
    """Directory of a run of a seed."""
    return place / f"{SEED}{seed}" / run


def read_results(place: Path, rows: Sequence[StudyRow]) -> list[SeedResult]:
    """All seeds of a study that have finished any row.

    Args:
        place: Directory of the study; there may be none yet.
        rows: What is looked for.

    Raises:
        RecordFormatError: another version recorded them.
    """
    seeds = sorted(int(path.name.removeprefix(SEED)) for path in place.glob(f"{SEED}*") if path.is_dir())
    results = [_read_seed(place, seed, rows) for seed in seeds]
    return [result for result in results if result.rows]


def complete(results: Iterable[SeedResult], labels: Iterable[str]) -> list[SeedResult]:
    """Seeds that have all of these rows, which is what paired figures are made of."""
    wanted = set(labels)
    return [result for result in results if wanted <= set(result.rows)]


def pooled_tool_success(figures: Iterable[BenchmarkFigures]) -> ContingencyTable:
    """Correctness by success of the code, all seeds together (spec G.7)."""
    tables = [one.tool_success for one in figures if one.tool_success is not None]
    return ContingencyTable(
        sum(table.right_passed for table in tables),
        sum(table.right_failed for table in tables),
        sum(table.wrong_passed for table in tables),
        sum(table.wrong_failed for table in tables),
    )


def _read_seed(place: Path, seed: int, rows: Sequence[StudyRow]) -> SeedResult:
    runs, figures, curves, seconds = {}, {}, {}, {}
    for row in rows:
        path = run_place(place, seed, row.run)
        if not path.is_dir():
            continue
        runs[row.run] = run = RunDirectory(path)
        if row.stage in run.state().finished_stages:
            figures[row.label] = _figures(run, row.stage)
        if Stage.RL in run.state().finished_stages:
            curves[row.run] = _curve(run)
        seconds[row.run] = {name: one.seconds for name, one in run.state().stages.items() if one.seconds is not None}
    return SeedResult(seed, _origin(runs), figures, curves, seconds)


def _origin(runs: Mapping[str, RunDirectory]) -> Origin:
    environments = [run.environment() for run in runs.values()]
    commits = sorted({str(environment.get("commit")) for environment in environments})
    machines = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in environment.get("machine", {}).items())
        for environment in environments
    )
    return Origin(tuple(commits), "; ".join(machines), {name: _settings(run) for name, run in runs.items()})


def _settings(run: RunDirectory) -> str:
    """A digest of the recipe, but for the seed, and for paths below the seed's directory."""
    tree = run.recipe().model_dump(mode="json", exclude={"name": True, "seed": True})
    tree["policy"].pop("model")
    tree["cold_start"].pop("demonstrations")
    return sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def _figures(run: RunDirectory, stage: Stage) -> BenchmarkFigures:
    evaluation = stage_evaluation(run, stage)
    (figures,) = evaluation_report(evaluation.samples, evaluation.about, resamples=RESAMPLES).benchmarks
    return figures


def _curve(run: RunDirectory) -> tuple[CurvePoint, ...]:
    points, tokens = [], 0
    for line in run.metrics(Stage.RL):
        if line.round is not None and "sampled_tokens" in line.metrics:
            tokens += line.metrics["sampled_tokens"]
            points.append(CurvePoint(tokens, line.metrics["reward"], line.metrics["failing_share"]))
    return tuple(points)
