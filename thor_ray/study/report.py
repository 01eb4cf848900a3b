"""The report of a study: JSON, Markdown, a page, and its pictures as SVG files."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from markupsafe import Markup

from thor_ray.charts import Series, interval_chart, line_chart
from thor_ray.errors import UserError
from thor_ray.evaluation.markdown import document
from thor_ray.evaluation.page import Chart, page, picture
from thor_ray.evaluation.paper import paper
from thor_ray.files import write_text_atomically
from thor_ray.study.design import StudyRow
from thor_ray.study.elsewhere import file_text, together
from thor_ray.study.results import SeedResult, read_results
from thor_ray.study.seeds import over_seeds
from thor_ray.study.tables import study_sections

NAME: Final = "study"
CURVE_POINTS: Final = 12
"""Points of a learning curve; each is the mean of the rounds of all seeds in its stretch of tokens."""


def write_study(place: Path, rows: Sequence[StudyRow], included: Sequence[Path] = ()) -> list[Path]:
    """Writes ``study.json``, ``study.md``, ``study.html`` and the pictures.

    Args:
        place: Directory of the study.
        rows: In the order of its table.
        included: Files ``study.json`` of other studies, whose seeds are reported with these.

    Returns:
        What was written.

    Raises:
        UserError: nothing has been finished yet, or what is included does not go with the rest.
    """
    results = together(read_results(place, rows), included)
    if not results:
        raise UserError(f"{place} has no finished evaluation yet", "run `thor study` first")
    charts = list(study_charts(results, rows))
    sections = study_sections(results, rows, paper())
    facts = [f"{len(results)} seeds", *_facts(results)]
    title = f"{place.resolve().name}: the paper's ablation in small"
    texts = {
        f"{NAME}.json": file_text(results),
        f"{NAME}.md": document(title, facts, sections),
        f"{NAME}.html": page(title, facts, sections, charts),
        **{f"{_file_name(chart.title)}.svg": picture(chart) for chart in charts},
    }
    place.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text_atomically(place / name, text)
    return [place / name for name in texts]


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


def _facts(results: Sequence[SeedResult]) -> Iterator[str]:
    """Whence: commits, machines and hours."""
    yield f"commit {', '.join(sorted({commit for result in results for commit in result.origin.commits}))}"
    yield f"machine: {'; '.join(dict.fromkeys(result.origin.machine for result in results))}"
    seconds = [one for result in results for stages in result.seconds.values() for one in stages.values()]
    yield f"{sum(seconds) / 3600:.2f} hours of stages, start-up of actors not counted"


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
