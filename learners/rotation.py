"""The checkpoints of one stage: each in a directory of its own, the newest few of them kept."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from learners.checkpoint import PARTIAL_SUFFIX, STATE_FILE, CheckpointError, CheckpointState, verify

_PREFIX: Final = "step-"
_DOOMED_SUFFIX: Final = ".doomed"


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a stage goes on.

    Attributes:
        path: The checkpoint.
        state: What it says of itself.
        refused: Why newer checkpoints than this one cannot be used.
    """

    path: Path
    state: CheckpointState
    refused: tuple[str, ...] = ()


class CheckpointRotation:
    """A directory of checkpoints, numbered by how far the stage had got when they were taken.

    Args:
        directory: Made when the first checkpoint is written.
        keep: How many to keep, at least 1; with 2, damage to the newest one costs little.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"at least one checkpoint must be kept, not {keep}")
        self.directory = directory
        self.keep = keep

    def path(self, step: int) -> Path:
        """Where the checkpoint of this step lies, or is to be written."""
        return self.directory / f"{_PREFIX}{step:08d}"

    def complete(self) -> list[Path]:
        """All checkpoints that were written to the end, oldest first."""
        return sorted(state.parent for state in self.directory.glob(f"{_PREFIX}*/{STATE_FILE}") if _named(state.parent))

    def newest(self) -> Resumption | None:
        """The newest checkpoint all of whose files are whole; ``None`` if none was ever completed.

        Raises:
            CheckpointError: there are some, and each is damaged.
        """
        refused: list[str] = []
        for path in reversed(self.complete()):
            try:
                return Resumption(path, verify(path), tuple(refused))
            except CheckpointError as error:
                refused.append(error.message)
        if refused:
            raise CheckpointError(
                "no checkpoint can be gone on from: " + "; ".join(refused),
                f"remove {self.directory} to begin the stage anew",
            )
        return None

    def prune(self) -> None:
        """Removes all but the newest checkpoints, and what killed writers left behind."""
        for path in self.complete()[: -self.keep]:
            # Renamed first: half a checkpoint must not be taken for a damaged one.
            doomed = path.with_name(path.name + _DOOMED_SUFFIX)
            path.replace(doomed)
        for suffix in (PARTIAL_SUFFIX, _DOOMED_SUFFIX, ".old"):
            for leftover in self.directory.glob(f"{_PREFIX}*{suffix}"):
                shutil.rmtree(leftover, ignore_errors=True)

    def clear(self) -> None:
        """Removes all of them: the stage is over."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _named(path: Path) -> bool:
    return path.name.removeprefix(_PREFIX).isdecimal()
