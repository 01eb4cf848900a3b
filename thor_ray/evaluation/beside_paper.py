"""Our figures beside the paper's, on the benchmarks that both have."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from thor_ray.evaluation.figures import BenchmarkFigures, EvaluationReport
from thor_ray.evaluation.paper import Paper, PaperTable
from thor_ray.evaluation.sections import DASH, Row, Section, Table, benchmark_label, p_text, plain, whole
from thor_ray.evaluation.significance import ContingencyTable, chi_squared
from thor_ray.problems import benchmark_named
from thor_ray.texts import figure_text

AVERAGE: Final = "average"
_SELECTIONS: Final = {
    "self_consistency": "self-consistency",
    "self_rewarded": "self-rewarded",
    "external": "reward model",
    "self_rewarded_external": "reward model + self-rewarded",
}
"""Our methods in the paper's words."""

Shown = Callable[[float], str]


def paper_section(report: EvaluationReport, paper: Paper) -> Section | None:
    """Tables of the paper with rows of ours on top; ``None`` without a benchmark that the paper has."""
    known = set(paper.tables["main"].columns) - {AVERAGE}
    ours = [part for part in report.benchmarks if _name(part) in known]
    if not ours:
        return None
    tables = [
        table
        for make in (_main_table, _repair_table, _selection_table, _execution_table, _tool_success_table, _cost_table)
        if (table := make(ours, paper)) is not None
    ]
    notes = [f"Rows without a mark are from {paper.citation}. {paper.source['protocol']}"]
    if {_name(part) for part in ours} != known:
        notes.append("Figures of the paper over all benchmarks are over all six, ours over those that were evaluated.")
    return Section("Beside the paper", tuple(tables), tuple(notes))


def _main_table(ours: Sequence[BenchmarkFigures], paper: Paper) -> Table | None:
    return _benchmark_table(paper.tables["main"], _accuracies(ours), _percent)


def _repair_table(ours: Sequence[BenchmarkFigures], paper: Paper) -> Table | None:
    strategies = dict.fromkeys(part.strategy for part in ours)
    if len(strategies) < 2:
        return None
    return _benchmark_table(paper.tables["repair"], _accuracies(ours), _percent)


def _selection_table(ours: Sequence[BenchmarkFigures], paper: Paper) -> Table | None:
    rows: dict[str, dict[str, float]] = {}
    for part in ours:
        for one in part.selection:
            name = f"ours: {_SELECTIONS[one.method]} of {one.candidates}"
            rows.setdefault(name, {})[_name(part)] = 100 * one.accuracy.value
    return _benchmark_table(paper.tables["selection"], rows, _percent) if rows else None


def _execution_table(ours: Sequence[BenchmarkFigures], paper: Paper) -> Table | None:
    rows = []
    for strategy, parts in _by_strategy(ours):
        known = [(part, part.code) for part in parts if part.code is not None]
        samples = sum(code.samples for _, code in known)
        if not samples:
            continue
        calls, failed = sum(code.calls for _, code in known), sum(code.failed_calls for _, code in known)
        accuracy = sum(part.accuracy.value for part, _ in known) / len(known)
        ratio = sum(code.code_ratio.value * code.samples for _, code in known) / samples
        cells = (_percent(100 * accuracy), _percent(100 * ratio), whole(failed), whole(calls - failed))
        rows.append(Row((_ours(strategy), *cells, _percent(100 * (1 - failed / calls)) if calls else DASH), ours=True))
    if not rows:
        return None
    table = paper.tables["execution"]
    shown: tuple[Shown, ...] = (_percent, _percent, figure_text, figure_text, _percent)
    headings = ("", "accuracy %", "code ratio %", "failed calls", "successful calls", "pass rate %")
    return _table(table, headings, [*rows, *_paper_rows(table, table.columns, shown)])


def _tool_success_table(ours: Sequence[BenchmarkFigures], paper: Paper) -> Table | None:
    table = paper.tables["tool_success"]
    rows = []
    for strategy, parts in _by_strategy(ours):
        known = [part.tool_success for part in parts if part.tool_success is not None]
        counts = [sum(getattr(one, name) for one in known) for name in table.columns]
        if sum(counts):
            rows.append(Row((_ours(strategy), *_contingency_cells(ContingencyTable(*counts))), ours=True))
    if not rows:
        return None
    for row in table.rows:
        counts = [int(value or 0) for value in row.values]
        rows.append(Row(("paper", *_contingency_cells(ContingencyTable(*counts)))))
    headings = (
        "", "right, code passed", "right, code failed", "wrong, code passed", "wrong, code failed",
        "accuracy if passed %", "if failed %", "χ²", "p",
    )  # fmt: skip
    return _table(table, headings, rows)


def _cost_table(ours: Sequence[BenchmarkFigures], paper: Paper) -> Table | None:
    rows: dict[str, dict[str, float]] = {}
    for part in ours:
        if part.tokens is not None:
            rows.setdefault(_ours(part.strategy), {})[_name(part)] = part.tokens.generated.value
    return _benchmark_table(paper.tables["cost"], rows, figure_text) if rows else None


def _accuracies(ours: Sequence[BenchmarkFigures]) -> dict[str, dict[str, float]]:
    rows = {}
    for strategy, parts in _by_strategy(ours):
        sizes = sorted({part.samples_per_problem for part in parts})
        k = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        rows[f"{_ours(strategy)}, avg@{k}"] = {_name(part): 100 * part.accuracy.value for part in parts}
    return rows


def _benchmark_table(table: PaperTable, ours: Mapping[str, Mapping[str, float]], shown: Shown) -> Table:
    """A table whose columns are benchmarks: those that we have, and the mean where we have all of them."""
    all_benchmarks = [name for name in table.columns if benchmark_named(name) is not None]
    evaluated = {name for row in ours.values() for name in row}
    columns = [name for name in all_benchmarks if name in evaluated]
    if len(columns) == len(all_benchmarks):
        columns.append(AVERAGE)
    rows = []
    for label, values in ours.items():
        values = dict(values)
        if len(values) == len(all_benchmarks):
            values[AVERAGE] = sum(values.values()) / len(values)
        rows.append(Row((label, *_cells([values.get(name) for name in columns], [shown] * len(columns))), ours=True))
    rows += _paper_rows(table, columns, [shown] * len(columns))
    return _table(table, ("", *map(benchmark_label, columns)), rows)


def _paper_rows(table: PaperTable, columns: Sequence[str], shown: Sequence[Shown]) -> Iterator[Row]:
    for row in table.rows:
        values = table.values(row, columns)
        if any(value is not None for value in values):
            label = row.label if row.group in ("reasoning", "not reasoning") else f"{row.group}, {plain(row.label)}"
            yield Row((f"{label} (official)" if row.judged == "official" else label, *_cells(values, shown)))


def _table(table: PaperTable, headings: tuple[str, ...], rows: Iterable[Row]) -> Table:
    return Table(headings, tuple(rows), f"{table.title} (paper, table {table.number})", folded=True)


def _contingency_cells(table: ContingencyTable) -> tuple[str, ...]:
    counts = (table.right_passed, table.right_failed, table.wrong_passed, table.wrong_failed)
    passed = _percent(100 * table.right_passed / table.passed) if table.passed else DASH
    failed = _percent(100 * table.right_failed / table.failed) if table.failed else DASH
    test = chi_squared(table)
    return (*map(whole, counts), passed, failed, *((f"{test[0]:.1f}", p_text(test[1])) if test else (DASH, DASH)))


def _by_strategy(ours: Sequence[BenchmarkFigures]) -> Iterator[tuple[str, list[BenchmarkFigures]]]:
    for strategy in dict.fromkeys(part.strategy for part in ours):
        yield strategy, [part for part in ours if part.strategy == strategy]


def _cells(values: Sequence[float | None], shown: Sequence[Shown]) -> Iterator[str]:
    for value, text in zip(values, shown, strict=True):
        yield DASH if value is None else text(value)


def _ours(strategy: str) -> str:
    return "ours" if strategy == "none" else f"ours, {plain(strategy)}"


def _name(part: BenchmarkFigures) -> str:
    known = benchmark_named(part.benchmark)
    return part.benchmark if known is None else known.name


def _percent(value: float) -> str:
    return f"{value:.1f}"
