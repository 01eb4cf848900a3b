"""Reports as one HTML page: no script, nothing from outside, light and dark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import jinja2
from markupsafe import Markup

from thor_ray.charts import Series, difference_chart, interval_chart, line_chart, stacked_chart, standalone
from thor_ray.evaluation.beside_paper import paper_section
from thor_ray.evaluation.comparison_tables import comparison_sections
from thor_ray.evaluation.evaluation_tables import evaluation_sections
from thor_ray.evaluation.figures import AtK, BenchmarkFigures, ComparisonReport, Difference, Estimate, EvaluationReport
from thor_ray.evaluation.paper import paper
from thor_ray.evaluation.sections import Section, average_label, benchmark_label, label, plain, settings_rows
from thor_ray.grading import GradeStatus

LABEL_LENGTH: Final = 19
MOST_CURVES: Final = 6
"""Benchmarks whose curves are drawn; the tables have all."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One plot.

    Attributes:
        title: Above it.
        svg: Its picture.
        legend: (CSS class, name) of each colour.
    """

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


def evaluation_page(report: EvaluationReport) -> str:
    """The page of one evaluation, our figures beside the paper's where both have a benchmark."""
    sections = evaluation_sections(report)
    if (beside := paper_section(report, paper())) is not None:
        sections.append(beside)
    about = report.about
    return page(
        f"{about.name}: evaluation",
        [f"rows from {about.source}"],
        sections,
        list(evaluation_charts(report)),
        settings_rows(about),
    )


def comparison_page(report: ComparisonReport) -> str:
    """The page of a comparison."""
    return page(
        f"{report.a.name} against {report.b.name}",
        [f"a: {report.a.name}", f"b: {report.b.name}"],
        comparison_sections(report),
        list(comparison_charts(report)),
    )


def page(
    title: str,
    subtitle: Sequence[str],
    sections: Sequence[Section],
    charts: Sequence[Chart],
    facts: Sequence[tuple[str, ...]] = (),
) -> str:
    """A page of sections, with charts after the first and facts at the end."""
    return (
        _templates()
        .get_template("evaluation.html")
        .render(title=title, subtitle=subtitle, sections=sections, charts=charts, facts=facts)
    )


def picture(chart: Chart) -> str:
    """A chart as an SVG file."""
    style = "".join(_templates().get_template(name).render() for name in ("colours.css", "charts.css"))
    return standalone(chart.title, str(chart.svg), chart.legend, style)


def evaluation_charts(report: EvaluationReport) -> Iterator[Chart]:
    """Plots of one evaluation, as far as it has their figures."""
    estimates = [(label(part), part.accuracy) for part in report.benchmarks]
    estimates += [(average_label(one), one.accuracy) for one in report.averages]
    yield _share_chart("avg@k, with 95 % intervals", estimates)
    yield _outcomes_chart(report.benchmarks)
    for part in report.benchmarks[:MOST_CURVES]:
        if part.samples_per_problem > 1:
            yield _samples_chart(part)
    for part in report.benchmarks[:MOST_CURVES]:
        for kind, slices in (("level", part.levels), ("subject", part.subjects)):
            if len(slices) > 1:
                yield _share_chart(f"{label(part)}: avg@k by {kind}", [(one.name, one.accuracy) for one in slices])


def comparison_charts(report: ComparisonReport) -> Iterator[Chart]:
    """Plots of a comparison."""
    rows = [_difference_row(benchmark_label(part.benchmark), part.accuracy) for part in report.benchmarks]
    if report.average is not None:
        rows.append(_difference_row(f"mean of {len(report.average.benchmarks)}", report.average.accuracy))
    title = "avg@k, b − a in percentage points, with 95 % intervals"
    yield Chart(title, Markup(difference_chart(title, rows)))
    for name, differences in (
        ("code pass rate", [(part.benchmark, part.code_pass_rate) for part in report.benchmarks]),
        ("code ratio", [(part.benchmark, part.code_ratio) for part in report.benchmarks]),
    ):
        rows = [_difference_row(benchmark_label(benchmark), one) for benchmark, one in differences if one is not None]
        if rows:
            title = f"{name}, b − a in percentage points, with 95 % intervals"
            yield Chart(title, Markup(difference_chart(title, rows)))


def _share_chart(title: str, estimates: Sequence[tuple[str, Estimate]]) -> Chart:
    # A share always has limits.
    rows = [(_short(name), one.value, one.low or 0.0, one.high or 0.0) for name, one in estimates]
    return Chart(title, Markup(interval_chart(title, rows)))


def _outcomes_chart(parts: Sequence[BenchmarkFigures]) -> Chart:
    """Verdicts as shares of all judged samples."""
    shown = [status for status in GradeStatus if any(part.outcomes.get(status) for part in parts)]
    rows = [
        (_short(label(part)), [(str(status), part.outcomes.get(status, 0) / part.samples) for status in shown])
        for part in parts
    ]
    title = "Verdicts"
    return Chart(title, Markup(stacked_chart(title, rows)), tuple((str(status), plain(status)) for status in shown))


def _samples_chart(part: BenchmarkFigures) -> Chart:
    """What more samples of a problem are good for."""
    series = [_at_k("pass@k", part.pass_at), _at_k("majority@k", part.majority_at)]
    title = f"{label(part)}: pass@k and majority@k"
    legend = tuple((f"series-{number}", one.name) for number, one in enumerate(series))
    return Chart(title, Markup(line_chart(title, "k, samples per problem", series, share=True)), legend)


def _at_k(name: str, points: Sequence[AtK]) -> Series:
    intervals = [
        (p.k, p.share.low, p.share.high) for p in points if p.share.low is not None and p.share.high is not None
    ]
    return Series(name, [(point.k, point.share.value) for point in points], intervals)


def _difference_row(name: str, one: Difference) -> tuple[str, float, float | None, float | None]:
    return _short(name), one.difference.value, one.difference.low, one.difference.high


def _short(name: str) -> str:
    """A label that has room beside a chart; the tables have it in full."""
    return name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1].rstrip() + "…"


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("thor_ray", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
