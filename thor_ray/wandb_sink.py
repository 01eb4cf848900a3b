"""Copies a run's metrics to Weights & Biases, if the user has asked for it through the environment."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def wandb_wanted() -> bool:
    """Whether a key is set, or the offline mode. Without either nothing is imported, asked or sent."""
    mode = os.environ.get("WANDB_MODE", "")
    return mode == "offline" or (bool(os.environ.get("WANDB_API_KEY")) and mode != "disabled")


class WandbSink:
    """One wandb run per run directory; a resumed run goes on in the same one.

    Failures of wandb are logged and end the copying, never the run.
    """

    def __init__(self, name: str, directory: Path, config: Mapping[str, Any], run_id: str) -> None:
        import wandb

        self._errors = (wandb.errors.Error, OSError)
        self._run: Any = None
        try:
            self._run = wandb.init(
                project="thor-ray",
                name=name,
                id=run_id,
                resume="allow",
                dir=directory,
                config=dict(config),
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
        except self._errors as error:
            logger.warning("wandb is off for this run: %s", error)

    def log(self, stage: str, round_index: int | None, metrics: Mapping[str, Any]) -> None:
        """Adds one line of metrics, each under its stage."""
        if self._run is None:
            return
        values = {f"{stage}/{name}": value for name, value in metrics.items() if value is not None}
        if round_index is not None:
            values[f"{stage}/round"] = round_index
        try:
            self._run.log(values)
        except self._errors as error:
            logger.warning("wandb is off from here on: %s", error)
            self._run = None

    def close(self, exit_code: int) -> None:
        """Writes out what is still buffered."""
        if self._run is not None:
            self._run.finish(exit_code=exit_code)
            self._run = None
