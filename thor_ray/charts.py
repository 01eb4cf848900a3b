"""Small SVG charts for the report: no script, no library, colours by CSS class so that dark and light both work."""

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 480
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 36
PLOT_HEIGHT: Final = 190
ROW_HEIGHT: Final = 34
LABEL_WIDTH: Final = 132
LONGEST_LABEL: Final = 32
"""Characters; what is longer is cut, so that half of the width is left to the chart."""
MARGIN: Final = 12
CHARACTER_WIDTH: Final = 7
LEGEND_LINE: Final = 20
"""About, of a legend's text."""

Placement = Callable[[float, float], tuple[float, float]]
"""A point in the units of the data to one in the units of the picture."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve.

    Attributes:
        name: For the legend.
        points: (x, y) in order of x.
        intervals: (x, low, high) drawn as bars behind the points.
        lines: Whether the points are joined.
    """

    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float, float]] = ()
    lines: bool = True


def line_chart(title: str, x_label: str, series: Sequence[Series], *, share: bool) -> str:
    """Curves over a common axis.

    Args:
        title: What a screen reader says.
        x_label: Below the axis.
        series: At least one of them has a point.
        share: y runs from 0 to 1 and is shown in per cent; otherwise from 0 to a round number above all points.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points] + [high for one in series for _, _, high in one.intervals]
    if not xs:
        raise ValueError(f"chart {title!r} has no points")
    x_low, x_high = min(xs), max(*xs, min(xs) + 1)
    y_high = 1.0 if share else nice_ceiling(max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (1 - min(max(y / y_high, 0.0), 1.0)) * PLOT_HEIGHT

    parts = []
    for step in range(5):
        y = y_high * step / 4
        across, down = place(x_low, y)
        label = f"{y * 100:.0f} %" if share else f"{y:,.4g}"
        parts += [
            f'<line class="grid" x1="{across:.1f}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}"/>',
            f'<text class="tick" x="{LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    for x in sorted({x_low, x_high, *(round(x_low + (x_high - x_low) * k / 4) for k in (1, 2, 3))}):
        across, down = place(x, 0)
        anchor = "end" if x == x_high else "middle"  # Half of a long number would lie beyond the picture.
        at = f'x="{across:.1f}" y="{down + 16:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text class="tick" {at}>{_axis_number(x)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    bottom = TOP + PLOT_HEIGHT + BOTTOM
    parts.append(f'<text class="tick" x="{middle}" y="{bottom - 4}" text-anchor="middle">{escape(x_label)}</text>')
    for number, one in enumerate(series):
        parts += _curve(one, f"series-{number}", place)
    return _svg(title, bottom, parts)


def interval_chart(title: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """Shares with their confidence intervals, a row each.

    Args:
        title: What a screen reader says.
        rows: (label, share, lower limit, upper limit).
    """
    left, height = _labels_width([label for label, *_ in rows]), len(rows) * ROW_HEIGHT

    def across(share: float) -> float:
        return left + share * (WIDTH - left - 56)

    parts = []
    for step in range(5):
        x = across(step / 4)
        parts += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>',
            f'<text class="tick" x="{x:.1f}" y="{height + 16}" text-anchor="middle">{step * 25} %</text>',
        ]
    for number, (label, share, low, high) in enumerate(rows):
        y = (number + 0.5) * ROW_HEIGHT
        parts += [
            f'<text class="label" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(label))}</text>',
            f'<line class="interval series-0" x1="{across(low):.1f}" x2="{across(high):.1f}" y1="{y}" y2="{y}"/>',
            f'<circle class="dot series-0" cx="{across(share):.1f}" cy="{y}" r="5"/>',
            f'<text class="label" x="{across(high) + 8:.1f}" y="{y + 4:.1f}">{share * 100:.1f} %</text>',
        ]
    return _svg(title, height + 22, parts)


def difference_chart(title: str, rows: Sequence[tuple[str, float, float | None, float | None]]) -> str:
    """Differences of shares around zero with their confidence intervals, a row each, in percentage points.

    Args:
        title: What a screen reader says.
        rows: (label, difference, lower limit, upper limit); limits may be unknown. At least one.
    """
    left, height = _labels_width([label for label, *_ in rows]), len(rows) * ROW_HEIGHT
    reach = nice_ceiling(max(abs(value) for _, *values in rows for value in values if value is not None) * 100)

    def across(difference: float) -> float:
        return left + (difference * 100 / reach + 1) / 2 * (WIDTH - left - 56)

    parts = []
    for step in range(-2, 3):
        x = across(step / 200 * reach)
        parts += [
            f'<line class="{"zero" if step == 0 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>',
            f'<text class="tick" x="{x:.1f}" y="{height + 16}" text-anchor="middle">{_signed(step / 2 * reach, "g")}</text>',
        ]
    for number, (label, difference, low, high) in enumerate(rows):
        y = (number + 0.5) * ROW_HEIGHT
        parts.append(
            f'<text class="label" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(label))}</text>'
        )
        if low is not None and high is not None:
            ends = f'x1="{across(low):.1f}" x2="{across(high):.1f}"'
            parts.append(f'<line class="interval series-0" {ends} y1="{y}" y2="{y}"/>')
        end = across(difference if high is None else high) + 8
        parts += [
            f'<circle class="dot series-0" cx="{across(difference):.1f}" cy="{y}" r="5"/>',
            f'<text class="label" x="{end:.1f}" y="{y + 4:.1f}">{_signed(difference * 100, ".1f")}</text>',
        ]
    return _svg(title, height + 22, parts)


def stacked_chart(title: str, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """Bars from 0 to 100 %, a row each, in parts whose colours come from CSS classes.

    Args:
        title: What a screen reader says.
        rows: (label, parts from left to right as (CSS class, share)).
    """
    left, height = _labels_width([label for label, *_ in rows]), len(rows) * ROW_HEIGHT
    width = WIDTH - left - 24
    parts = []
    for step in range(5):
        x = left + step / 4 * width
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height + 16}" text-anchor="middle">{step * 25} %</text>')
    for number, (label, shares) in enumerate(rows):
        y, begun = (number + 0.5) * ROW_HEIGHT, 0.0
        parts.append(
            f'<text class="label" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(label))}</text>'
        )
        for css, share in shares:
            box = f'x="{left + begun * width:.1f}" y="{y - 9}" width="{share * width:.1f}" height="18"'
            parts.append(f'<rect class="part {escape(css)}" {box}><title>{share * 100:.1f} %</title></rect>')
            begun += share
    return _svg(title, height + 22, parts)


def standalone(title: str, svg: str, legend: Sequence[tuple[str, str]], style: str) -> str:
    """A chart as a file of its own: with its title, its legend, and its colours, light or dark as whoever shows it asks.

    Args:
        title: Above it.
        svg: The chart, by one of the functions above.
        legend: (CSS class, name) of each colour.
        style: Rules for all classes.

    Raises:
        ValueError: ``svg`` is none of these charts.
    """
    viewed = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)
    if viewed is None:
        raise ValueError(f"chart {title!r} has no size")
    parts, across, header, height = [], WIDTH, 32, float(viewed[1])
    for css, name in legend:
        if across + 20 + CHARACTER_WIDTH * len(name) > WIDTH:
            across, header = MARGIN, header + LEGEND_LINE
        parts += [
            f'<line class="curve {escape(css)}" x1="{across}" x2="{across + 14}" y1="{header - 14}" y2="{header - 14}"/>',
            f'<text class="label" x="{across + 20}" y="{header - 10}">{escape(name)}</text>',
        ]
        across += 40 + CHARACTER_WIDTH * len(name)
    whole = f'width="{WIDTH}" height="{header + height:g}"'
    placed = svg.replace("<svg ", f'<svg y="{header}" width="{WIDTH}" height="{height:g}" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {header + height:g}" {whole} '
        f'font-family="system-ui, sans-serif" font-size="12">'
        f'<style>{style}</style><rect {whole} fill="var(--page)"/>'
        f'<text class="label" x="{MARGIN}" y="20" font-size="14" font-weight="600">{escape(title)}</text>'
        f"{''.join(parts)}{placed}</svg>\n"
    )


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``value``; 1 for what is not positive and normal."""
    if value < sys.float_info.min:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


def _labels_width(labels: Sequence[str]) -> int:
    """What labels of rows need on the left."""
    return max([LABEL_WIDTH, *(CHARACTER_WIDTH * len(_short(label)) + MARGIN for label in labels)])


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _signed(value: float, form: str) -> str:
    """A number with its sign, and with a minus sign rather than a hyphen."""
    return f"{value:+{form}}".replace("-", "−") if value else "0"


def _axis_number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:g}"


def _curve(series: Series, css: str, place: Placement) -> list[str]:
    parts = []
    for x, low, high in series.intervals:
        (across, down), (_, up) = place(x, low), place(x, high)
        parts.append(
            f'<line class="interval {css}" x1="{across:.1f}" x2="{across:.1f}" y1="{down:.1f}" y2="{up:.1f}"/>'
        )
    placed = [place(x, y) for x, y in series.points]
    if series.lines and len(placed) > 1:
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in placed)
        parts.append(f'<polyline class="curve {css}" points="{path}"/>')
    if not series.lines or len(placed) == 1:
        parts += [f'<circle class="dot {css}" cx="{across:.1f}" cy="{down:.1f}" r="4"/>' for across, down in placed]
    return parts


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
