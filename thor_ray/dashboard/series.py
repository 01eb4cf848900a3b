"""Metrics as columns: one list of rounds a stage, and a list of values for each figure."""

from collections.abc import Iterable, Mapping
from typing import Any

from thor_ray.run_directory import MetricsLine


def stage_series(lines: Iterable[MetricsLine]) -> dict[str, Any]:
    """Lines of metrics, in order of time, as columns by stage.

    Several lines of one round (sampling, each update, publication) are one point; of a figure that stands there more than
    once, the last counts. Nested figures are flattened, ``grades/correct``; a list of two numbers is an interval.

    Returns:
        By stage: ``rounds`` and ``times``, ``[n]`` each, and ``values``, by name ``[n]`` with ``None`` where a round has
        no such figure.
    """
    points: dict[str, dict[int, dict[str, Any]]] = {}
    times: dict[str, dict[int, str]] = {}
    for line in lines:
        if line.round is None:
            continue
        points.setdefault(line.stage, {}).setdefault(line.round, {}).update(flattened(line.metrics))
        times.setdefault(line.stage, {})[line.round] = line.time
    return {stage: _columns(rounds, times[stage]) for stage, rounds in points.items()}


def flattened(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Figures of nested metrics by path; what is neither a number nor an interval is left out."""
    flat: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}/")
        elif value is None or _is_number(value) or _is_interval(value):
            flat[prefix + name] = value
    return flat


def _columns(rounds: Mapping[int, Mapping[str, Any]], times: Mapping[int, str]) -> dict[str, Any]:
    order = sorted(rounds)
    names = dict.fromkeys(name for number in order for name in rounds[number])
    return {
        "rounds": order,
        "times": [times[number] for number in order],
        "values": {name: [rounds[number].get(name) for number in order] for name in names},
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
