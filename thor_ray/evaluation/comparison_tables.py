"""Two evaluations side by side as sections of tables, with what the tests mean."""

from collections.abc import Callable, Sequence
from typing import Final

from thor_ray.evaluation.figures import BenchmarkComparison, ComparisonReport, Difference
from thor_ray.evaluation.sections import (
    DASH,
    Row,
    Section,
    Table,
    benchmark_label,
    p_text,
    settings_rows,
)
from thor_ray.texts import figure_text, percent

MOST_CHANGES: Final = 20

_DIFFERENCES: Final = (
    "Differences are b − a on the problems that both have judged; their intervals are by resampling problems, each with "
    "its samples of both ({resamples:,} times, seed {seed}). p is McNemar's where each problem has one outcome in both, "
    "else the paired bootstrap's, which stays above 2 / {resamples:,}; it is adjusted for the number of benchmarks (Holm), "
    "and the verdict is at 5 %."
)
_TESTS: Final = (
    "Exact tests look at the sign of each problem's difference only: with one outcome per problem nothing is lost by "
    "that, with several they ignore how large the differences are."
)


def comparison_sections(report: ComparisonReport) -> list[Section]:
    """Sections of a comparison."""
    parts = (_accuracy_section, _test_section, _figures_section, _changes_section, _settings_section)
    return [section for part in parts if (section := part(report)) is not None]


def _accuracy_section(report: ComparisonReport) -> Section:
    rows = [
        Row(
            (
                _label(part),
                *_difference_cells(part.accuracy, percent, signed_points),
                p_text(part.adjusted_p_value),
                part.verdict,
                str(part.problems),
                f"{part.samples_per_problem_a}, {part.samples_per_problem_b}",
            )
        )
        for part in report.benchmarks
    ]
    if report.average is not None:
        mean = report.average.accuracy
        cells = _difference_cells(mean, percent, signed_points)
        p_value = DASH if mean.p_value is None else p_text(mean.p_value)
        rows.append(Row((f"mean of {len(report.average.benchmarks)}", *cells, p_value, "", "", ""), ours=True))
    headings = ("benchmark", "a: avg@k", "b: avg@k", "b − a", "95 %", "p", "verdict", "problems", "k of a, b")
    notes = [_DIFFERENCES.format(resamples=report.bootstrap_resamples, seed=report.bootstrap_seed)]
    notes += [
        f"{_label(part)}: {part.only_a} problems have been judged for a only, {part.only_b} for b only."
        for part in report.benchmarks
        if part.only_a or part.only_b
    ]
    notes += [
        f"Evaluated for {name} only: {', '.join(map(benchmark_label, only))}."
        for name, only in (("a", report.benchmarks_only_a), ("b", report.benchmarks_only_b))
        if only
    ]
    return Section("Accuracy", (Table(headings, tuple(rows)),), tuple(notes))


def _test_section(report: ComparisonReport) -> Section:
    rows = [
        Row(
            (
                _label(part),
                part.test.name,
                str(part.test.b_better),
                str(part.test.a_better),
                str(part.test.equal),
                p_text(part.test.p_value),
                DASH if part.accuracy.p_value is None else p_text(part.accuracy.p_value),
            )
        )
        for part in report.benchmarks
    ]
    reasons = dict.fromkeys(f"{part.test.name}: {part.test.why}." for part in report.benchmarks)
    headings = (
        "benchmark",
        "test",
        "b solves more often",
        "a more often",
        "equal",
        "p of the test",
        "p of the bootstrap",
    )
    return Section("Exact tests", (Table(headings, tuple(rows)),), (_TESTS, *reasons))


def _figures_section(report: ComparisonReport) -> Section | None:
    rows = [row for part in report.benchmarks for row in _figure_rows(part)]
    if not rows:
        return None
    headings = ("benchmark", "figure", "a", "b", "b − a", "95 %", "p")
    return Section("Code, tokens, more samples", (Table(headings, tuple(rows)),))


def _figure_rows(part: BenchmarkComparison) -> list[Row]:
    figures: tuple[tuple[str, Difference | None, Callable[[float], str], Callable[[float], str]], ...] = (
        (f"pass@{part.k}", part.pass_at_k, percent, signed_points),
        ("code ratio", part.code_ratio, percent, signed_points),
        ("code pass rate", part.code_pass_rate, percent, signed_points),
        ("calls per sample", part.calls, figure_text, signed_number),
        ("tokens per sample", part.tokens, figure_text, signed_number),
    )
    return [
        Row(
            (
                _label(part),
                name,
                *_difference_cells(difference, text, signed),
                DASH if difference.p_value is None else p_text(difference.p_value),
            )
        )
        for name, difference, text, signed in figures
        if difference is not None
    ]


def _changes_section(report: ComparisonReport) -> Section | None:
    tables = []
    for part in report.benchmarks:
        if part.changes:
            rows = [
                Row((one.problem_id, percent(one.a), percent(one.b), signed_points(one.b - one.a)))
                for one in part.changes[:MOST_CHANGES]
            ]
            shown = f"the {MOST_CHANGES} largest of {len(part.changes)}" if len(part.changes) > len(rows) else "all"
            caption = f"{_label(part)}: {shown}"
            tables.append(Table(("problem", "a", "b", "b − a"), tuple(rows), caption, folded=True))
    return Section("Problems that changed", tuple(tables)) if tables else None


def _settings_section(report: ComparisonReport) -> Section | None:
    rows = [
        Row((name, a, b), ours=a != b)
        for name, a, b in [("rows from", report.a.source, report.b.source), *settings_rows(report.a, report.b)]
    ]
    return Section("Settings", (Table(("setting", "a", "b"), tuple(rows)),), ("Those that differ are stressed.",))


def signed_points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{_signed(share * 100, 1)}"


def signed_number(value: float) -> str:
    """A difference of counts or measures, with its sign."""
    return _signed(value, 0 if abs(value) >= 100 else 2)


def _signed(value: float, digits: int) -> str:
    text = f"{value:+,.{digits}f}".replace("-", "−")
    return text if any(digit in text for digit in "123456789") else text[1:]


def _difference_cells(
    difference: Difference, text: Callable[[float], str], signed: Callable[[float], str]
) -> Sequence[str]:
    limits = difference.difference.low, difference.difference.high
    shown = DASH if limits[0] is None or limits[1] is None else f"{signed(limits[0])} to {signed(limits[1])}"
    return text(difference.a), text(difference.b), signed(difference.difference.value), shown


def _label(part: BenchmarkComparison) -> str:
    if part.strategy_a == part.strategy_b:
        return benchmark_label(part.benchmark, part.strategy_a)
    return benchmark_label(part.benchmark)
