"""The report of a study: JSON, Markdown, a page, and its pictures as SVG files."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from markupsafe import Markup

from thor_ray.charts import Series, interval_chart, line_chart
from thor_ray.evaluation.markdown import document
from thor_ray.evaluation.page import Chart, page
from thor_ray.evaluation.paper import paper
from thor_ray.files import write_text_atomically
from thor_ray.run_directory import RunDirectory
from thor_ray.study.design import StudyRow
from thor_ray.study.results import SeedResult, read_results, run_place
from thor_ray.study.seeds import over_seeds
from thor_ray.study.tables import study_sections

NAME: Final = "study"
CURVE_POINTS: Final = 12
"""Points of a learning curve; each is the mean of the rounds of all seeds in its stretch of tokens."""


def write_study(place: Path, rows: Sequence[StudyRow]) -> list[Path]:
    """Writes ``study.json``, ``study.md``, ``study.html`` and the pictures.

    Args:
        place: Directory of the study.
        rows: In the order of its table.

    Returns:
        What was written.

    Raises:
        UserError: nothing has been finished yet.
    """
    results = read_results(place, rows)
    charts = list(study_charts(results, rows))
    sections = study_sections(results, rows, paper())
    facts = [f"{len(results)} seeds", *_facts(place, results, rows)]
    title = f"{place.resolve().name}: the paper's ablation in small"
    texts = {
        f"{NAME}.json": json.dumps(study_json(results), indent=2, allow_nan=False) + "\n",
        f"{NAME}.md": document(title, facts, sections),
        f"{NAME}.html": page(title, facts, sections, charts),
        **{f"{_file_name(chart.title)}.svg": str(chart.svg) + "\n" for chart in charts},
    }
    for name, text in texts.items():
        write_text_atomically(place / name, text)
    return [place / name for name in texts]


def study_json(results: Sequence[SeedResult]) -> list[dict[str, Any]]:
    """All figures, by seed and row."""
    return [
        {
            "seed": result.seed,
            "rows": {label: figures.model_dump(mode="json") for label, figures in result.rows.items()},
            "curves": {run: [asdict(point) for point in points] for run, points in result.curves.items()},
        }
        for result in results
    ]


def study_charts(results: Sequence[SeedResult], rows: Sequence[StudyRow]) -> Iterator[Chart]:
    """Accuracy by row, and what the runs learnt over sampled tokens."""
    bars = []
    for row in rows:
        values = [result.rows[row.label].accuracy.value for result in results if row.label in result.rows]
        if values:
            found = over_seeds(values)
            low, high = (found.mean if limit is None else limit for limit in (found.low, found.high))
            bars.append((row.label, found.mean, max(low, 0.0), min(high, 1.0)))
    title = "Accuracy, means over seeds with 95 % intervals"
    yield Chart(title, Markup(interval_chart(title, bars)))
    for name, field in (("Reward of episodes", "reward"), ("Share of failing code", "failing_share")):
        series = list(_curves(results, field))
        if series:
            legend = tuple((f"series-{number}", one.name) for number, one in enumerate(series))
            title = f"{name} while learning"
            yield Chart(title, Markup(line_chart(title, "sampled tokens", series, share=True)), legend)


def _curves(results: Sequence[SeedResult], field: str) -> Iterator[Series]:
    runs = dict.fromkeys(run for result in results for run in result.curves)
    for run in runs:
        found = [
            (point.tokens, value)
            for result in results
            for point in result.curves.get(run, ())
            if (value := getattr(point, field)) is not None
        ]
        if found:
            width = max(tokens for tokens, _ in found) / CURVE_POINTS
            stretches: dict[int, list[float]] = defaultdict(list)
            for tokens, value in found:
                stretches[min(int(tokens / width), CURVE_POINTS - 1)].append(value)
            points = [((number + 0.5) * width, fmean(stretches[number])) for number in sorted(stretches)]
            yield Series(run, points)


def _facts(place: Path, results: Sequence[SeedResult], rows: Sequence[StudyRow]) -> Iterator[str]:
    """Whence: commits, machine and hours."""
    runs = [
        RunDirectory(path)
        for result in results
        for run in dict.fromkeys(row.run for row in rows)
        if (path := run_place(place, result.seed, run)).is_dir()
    ]
    environments = [run.environment() for run in runs]
    commits = sorted({str(environment.get("commit")) for environment in environments})
    yield f"commit {', '.join(commits)}"
    machine = environments[0].get("machine", {})
    yield f"machine: {', '.join(f'{name} {value}' for name, value in machine.items())}"
    seconds = [stage.seconds for run in runs for stage in run.state().stages.values() if stage.seconds is not None]
    yield f"{sum(seconds) / 3600:.2f} hours of stages, start-up of actors not counted"


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
