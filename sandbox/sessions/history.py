"""What made a session's state: its steps, kept as far as they may have to run again."""

from __future__ import annotations

from typing import NamedTuple


class Cell(NamedTuple):
    """One step's program.

    Attributes:
        number: counts the steps that made the state, from 1; tracebacks name it.
        program: the source text in UTF-8.
        timeout: wall-clock seconds granted.
    """

    number: int
    program: bytes
    timeout: float


class History:
    """The steps that made a state, in order.

    Args:
        max_steps: how many steps may be replayed.
        max_seconds: how long they may have taken, all together.

    Attributes:
        cells: what has to run again to make the state again; meaningless once it `is_replayable` no more.
        is_replayable: whether that is within the bounds.
    """

    def __init__(self, max_steps: int, max_seconds: float) -> None:
        self._max_steps = max_steps
        self._max_seconds = max_seconds
        self.clear()

    def clear(self) -> None:
        """Nothing has run yet."""
        self.cells: list[Cell] = []
        self.is_replayable = True
        self._steps = 0
        self._seconds = 0.0

    def next(self, program: bytes, timeout: float) -> Cell:
        """The step that would follow. A step that is not accepted leaves no trace: its successor has its number."""
        return Cell(self._steps + 1, program, timeout)

    def accept(self, cell: Cell, seconds: float) -> None:
        """The step has become a part of the state; it took so many seconds."""
        self._steps += 1
        self._seconds += seconds
        self.cells.append(cell)
        if self._steps > self._max_steps or self._seconds > self._max_seconds:
            self.is_replayable = False
            self.cells.clear()
