"""What reports are made of: sections of plain tables, once for Markdown, pages and terminals; and how figures read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from thor_ray.evaluation.figures import About, AverageFigures, BenchmarkFigures, Estimate
from thor_ray.evaluation.samples import NO_CORRECTION
from thor_ray.problems import benchmark_named

DASH: Final = "–"
LEAST_P: Final = 1e-99
"""Smaller p-values differ in nothing that a reader could use, and may be too small for a float."""
_FIGURES: Final = frozenset({*"0123456789+−<", ""})
"""What a figure begins with; an empty cell is no text."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        cells: As many as the table has headings.
        ours: Whether to stress it among rows of others.
    """

    cells: tuple[str, ...]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        headings: Of the columns; the first column holds labels.
        rows: At least one.
        caption: What it shows, where its section has several.
        folded: Whether a page shows it only on demand.
    """

    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    folded: bool = False

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds figures, which are set flush right; the first never does."""
        columns = zip(*(row.cells[1:] for row in self.rows), strict=True)
        return False, *(all(cell[:1] in _FIGURES or cell == DASH for cell in column) for column in columns)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Attributes:
        title: Its heading.
        tables: In order.
        notes: What the figures mean, one sentence or more each.
    """

    title: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = field(default=())


def settings_rows(*abouts: About) -> list[tuple[str, ...]]:
    """Name of each setting and its values, a dash where one of several evaluations does not say."""
    names = dict.fromkeys(name for about in abouts for name in about.settings)
    return [(name, *(about.settings.get(name, DASH) for about in abouts)) for name in names]


def label(part: BenchmarkFigures) -> str:
    """A benchmark as papers write it, with its repair strategy if it has one."""
    return benchmark_label(part.benchmark, part.strategy)


def benchmark_label(benchmark: str, strategy: str = NO_CORRECTION) -> str:
    """A benchmark as papers write it, with a repair strategy if there is one."""
    known = benchmark_named(benchmark)
    title = benchmark if known is None else known.title
    return title if strategy == NO_CORRECTION else f"{title}, {plain(strategy)}"


def average_label(average: AverageFigures) -> str:
    """The mean over benchmarks, with its repair strategy if it has one."""
    text = f"mean of {len(average.benchmarks)}"
    return text if average.strategy == NO_CORRECTION else f"{text}, {plain(average.strategy)}"


def interval(
    estimate: Estimate, text: Callable[[float], str] = lambda share: f"{share * 100:.1f}", between: str = "–"
) -> str:
    """95 % limits; a dash where there are none. Those of differences have signs, and so stand apart by a word."""
    if estimate.low is None or estimate.high is None:
        return DASH
    return f"{text(estimate.low)}{between}{text(estimate.high)}"


def whole(value: int) -> str:
    """A count."""
    return f"{value:,}"


def p_text(p_value: float) -> str:
    """A p-value in two digits; in powers of ten where it is small, and a bound where it is too small for a number."""
    if p_value < LEAST_P:
        return f"<{LEAST_P:.0e}"
    return f"{p_value:.2g}" if p_value < 0.001 else f"{p_value:.3f}"


def plain(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")
