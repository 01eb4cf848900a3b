"""How figures over seeds read in a table: per cent, points, limits."""

from collections.abc import Sequence

from thor_ray.evaluation.sections import DASH, p_text
from thor_ray.study.seeds import Change, OverSeeds, over_seeds


def percent(figure: OverSeeds) -> str:
    """The mean of a share."""
    return f"{100 * figure.mean:.1f}"


def limits(figure: OverSeeds) -> str:
    """The 95 % interval of a share, or a dash for one seed."""
    if figure.low is None or figure.high is None:
        return DASH
    return f"{100 * max(figure.low, 0):.1f}–{100 * min(figure.high, 1):.1f}"


def share_cells(values: Sequence[float]) -> tuple[str, str]:
    """Mean and limits in per cent, or dashes without any value."""
    if not values:
        return DASH, DASH
    figure = over_seeds(values)
    return percent(figure), limits(figure)


def signed(points: float) -> str:
    """A difference in points."""
    return f"{points:+z.1f}".replace("-", "−")


def change_cells(found: Change | None) -> tuple[str, str, str]:
    """A change in points, its limits and its p-value; dashes for what is not known."""
    if found is None:
        return DASH, DASH, DASH
    difference = found.difference
    between = DASH
    if difference.low is not None and difference.high is not None:
        between = f"{signed(100 * difference.low)} to {signed(100 * difference.high)}"
    return signed(100 * difference.mean), between, DASH if found.p_value is None else p_text(found.p_value)
