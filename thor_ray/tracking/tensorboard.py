"""Copies metrics into event files that TensorBoard reads."""

import logging
from pathlib import Path
from typing import Any

from thor_ray.run_directory import MetricsLine
from thor_ray.tracking.sink import scalars

logger = logging.getLogger(__name__)


class TensorBoardSink:
    """One TensorBoard run a stage, below ``directory``: their rounds are counted from 0 each.

    Rounds that a resumed run does again replace what the earlier attempt had written of them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writers: dict[str, Any] = {}
        self._failed = False

    def log(self, line: MetricsLine) -> None:
        """Adds one line, at the step of its round."""
        step = line.round or 0
        if self._failed:
            return
        try:
            writer = self._writer(line.stage, step)
            for name, value in scalars(line.metrics):
                writer.add_scalar(name, value, step)
            # A page that follows the run reads the file.
            writer.flush()
        except OSError as error:
            logger.warning("TensorBoard is off from here on: %s", error)
            self._failed = True

    def log_rollouts(self, stage: str, round_index: int, records: Path) -> None:
        """Does nothing: TensorBoard shows numbers."""

    def close(self, *, succeeded: bool) -> None:
        """Closes the event files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, stage: str, step: int) -> Any:
        if stage not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[stage] = SummaryWriter(str(self._directory / stage), purge_step=step)
        return self._writers[stage]
