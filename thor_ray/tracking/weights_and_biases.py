"""Copies metrics, and some trajectories of each round, to Weights & Biases."""

import logging
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from thor_ray.config import TrackingConfig
from thor_ray.records import read_columns
from thor_ray.run_directory import MetricsLine

logger = logging.getLogger(__name__)

TABLE_COLUMNS: Final = (
    "trajectory_id",
    "problem_id",
    "reward",
    "grade_status",
    "finish",
    "answer",
    "gold_answer",
    "texts",
)


class WandbSink:
    """One wandb run per run directory; a resumed run goes on in the same one.

    Failures of wandb are logged and end the copying, never the run.

    Args:
        config: Project, and how many trajectories of a round are shown.
        name: Of the run.
        directory: Where wandb keeps its files; all of them, where it is offline.
        recipe: The resolved recipe.
        run_id: The same for each attempt at one run.
    """

    def __init__(
        self, config: TrackingConfig, name: str, directory: Path, recipe: Mapping[str, Any], run_id: str
    ) -> None:
        import wandb

        self._table = wandb.Table
        self._rollouts = config.wandb_rollouts
        self._errors = (wandb.errors.Error, OSError)
        self._stages: set[str] = set()
        self._run: Any = None
        try:
            self._run = wandb.init(
                project=config.wandb_project,
                name=name,
                id=run_id,
                resume="allow",
                dir=directory,
                config=dict(recipe),
                mode=wandb_mode(os.environ),
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
        except self._errors as error:
            logger.warning("wandb is off for this run: %s", error)

    def log(self, line: MetricsLine) -> None:
        """Adds one line of metrics, each under its stage, over the stage's rounds."""
        values = {f"{line.stage}/{name}": value for name, value in line.metrics.items() if value is not None}
        self._log(line.stage, line.round, values)

    def log_rollouts(self, stage: str, round_index: int, records: Path) -> None:
        """Adds a table of the round's first trajectories."""
        if self._run is None or not self._rollouts:
            return
        rows = islice(read_columns([records], list(TABLE_COLUMNS)).to_pylist(), self._rollouts)
        cells = [[_cell(row[name]) for name in TABLE_COLUMNS] for row in rows]
        self._log(stage, round_index, {f"{stage}/rollouts": self._table(columns=list(TABLE_COLUMNS), data=cells)})

    def close(self, *, succeeded: bool) -> None:
        """Writes out what is still buffered."""
        if self._run is not None:
            self._run.finish(exit_code=0 if succeeded else 1)
            self._run = None

    def _log(self, stage: str, round_index: int | None, values: dict[str, Any]) -> None:
        if self._run is None:
            return
        try:
            if round_index is not None:
                values[f"{stage}/round"] = round_index
                if stage not in self._stages:
                    self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/round")
                    self._stages.add(stage)
            self._run.log(values)
        except self._errors as error:
            logger.warning("wandb is off from here on: %s", error)
            self._run = None


def wandb_mode(environment: Mapping[str, str]) -> Literal["online", "offline"] | None:
    """Online for whoever has set a key, offline for all others; ``None`` leaves it to ``WANDB_MODE``."""
    if environment.get("WANDB_MODE"):
        return None
    return "online" if environment.get("WANDB_API_KEY") else "offline"


def _cell(value: Any) -> Any:
    return "".join(value) if isinstance(value, list) else value
