"""What happens to updates whose loss or gradient is not finite: they are skipped, and too many in a row end the run."""

from collections.abc import Iterable
from dataclasses import dataclass

from learners.sequences import DEMONSTRATION_UID, SequenceSource
from thor_ray.errors import WorkerError


class NonFiniteUpdateError(WorkerError):
    """Loss or gradient were not finite in too many updates in a row. The weights are those before the first of them."""


@dataclass(frozen=True, slots=True)
class SkippedUpdate:
    """An update that was not made, since its loss or gradient was not finite.

    Attributes:
        loss: Of the mini-batch.
        grad_norm: Of the whole gradient.
        groups: Uids of all groups in the mini-batch; none of them has been trained on.
        suspects: Those whose loss alone is not finite; empty where only the gradient was not.
    """

    loss: float
    grad_norm: float
    groups: tuple[str, ...]
    suspects: tuple[str, ...]

    def __str__(self) -> str:
        by = f"groups {', '.join(self.suspects)}" if self.suspects else f"one of the groups {', '.join(self.groups)}"
        return f"loss {self.loss:g}, gradient norm {self.grad_norm:g} by {by}"


class UpdateGuard:
    """Counts skipped updates: a pure state machine.

    Args:
        limit: Updates in a row that may be skipped, the last of which ends the run.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row: list[SkippedUpdate] = []

    @property
    def skipped(self) -> tuple[SkippedUpdate, ...]:
        """Updates since the last one that was made."""
        return tuple(self._in_a_row)

    def made(self) -> None:
        """An update was made, or a stage began."""
        self._in_a_row = []

    def skip(self, update: SkippedUpdate) -> None:
        """An update was skipped.

        Raises:
            NonFiniteUpdateError: one too many; names the groups of all that were skipped in a row.
        """
        self._in_a_row.append(update)
        if len(self._in_a_row) >= self._limit:
            reasons = "; ".join(str(skipped) for skipped in self._in_a_row)
            raise NonFiniteUpdateError(f"{len(self._in_a_row)} updates in a row could not be made: {reasons}")


def group_uids(sequences: Iterable[SequenceSource]) -> tuple[str, ...]:
    """Uids of the groups that sequences belong to, each once, in order; demonstrations belong to none."""
    return tuple(dict.fromkeys(one.group_uid for one in sequences if one.group_uid != DEMONSTRATION_UID))
