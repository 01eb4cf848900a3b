"""Copies metrics to Ray's, which Prometheus reads and Grafana draws."""

from pathlib import Path
from typing import Any

from ray.util.metrics import Gauge

from thor_ray.config import Recipe
from thor_ray.metrics_table import prometheus_name
from thor_ray.run_directory import MetricsLine
from thor_ray.runlog import RunLog
from thor_ray.tracking import scalars


def attach_ray_metrics(log: RunLog, recipe: Recipe) -> None:
    """Lets Ray have the run's metrics from here on, if the recipe asks for it; this process has to be in a cluster."""
    if "ray" in recipe.tracking.sinks:
        log.attach(RayMetricsSink(log.name))


class RayMetricsSink:
    """One gauge a figure, ``ray_thor_<stage>_<name>``, tagged with the run; for as long as this process is in a cluster.

    Args:
        run: The run's name.
    """

    def __init__(self, run: str) -> None:
        self._tags = {"run": run}
        self._gauges: dict[str, Any] = {}

    def log(self, line: MetricsLine) -> None:
        """Sets the gauges of one line; the round is a gauge of its own."""
        figures = dict(scalars(line.metrics))
        if line.round is not None:
            figures["round"] = float(line.round)
        for name, value in figures.items():
            full = prometheus_name(line.stage, name)
            if full not in self._gauges:
                self._gauges[full] = Gauge(full, f"{name} of stage {line.stage}", tag_keys=("run",))
            self._gauges[full].set(value, tags=self._tags)

    def log_rollouts(self, stage: str, round_index: int, records: Path) -> None:
        """Does nothing: Prometheus knows numbers."""

    def close(self, *, succeeded: bool) -> None:
        """Does nothing: the gauges go with the cluster's connection."""
