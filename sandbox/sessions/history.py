"""What made a session's state: its steps, kept as far as they may have to run again."""

from __future__ import annotations

from dataclasses import dataclass

_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Cell:
    """One step's program.

    Attributes:
        number: counts the steps that made the state, from 1; tracebacks name it.
        program: the source text in UTF-8.
        seed: what the random generators start from.
        timeout: wall-clock seconds granted.
    """

    number: int
    program: bytes
    seed: int
    timeout: float


class History:
    """The steps that made a state, in order.

    Args:
        seed: the session's seed; each step's own seed follows from it and from the step's number.
        max_steps: how many steps may be replayed.
        max_seconds: how long they may have taken, all together.

    Attributes:
        cells: what has to run again to make the state again; meaningless once it `is_replayable` no more.
        is_replayable: whether that is within the bounds.
    """

    def __init__(self, seed: int, max_steps: int, max_seconds: float) -> None:
        self._seed = seed
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
        """The step that would follow. A step that is not accepted leaves no trace: its successor has its number and seed."""
        number = self._steps + 1
        return Cell(number, program, step_seed(self._seed, number), timeout)

    def accept(self, cell: Cell, seconds: float) -> None:
        """The step has become a part of the state; it took so many seconds."""
        self._steps += 1
        self._seconds += seconds
        self.cells.append(cell)
        if self._steps > self._max_steps or self._seconds > self._max_seconds:
            self.is_replayable = False
            self.cells.clear()


def step_seed(seed: int, number: int) -> int:
    """The seed of a session's step: 32 bits of SplitMix64's `number`-th output (Steele, Lea and Flood 2014).

    Args:
        seed: the session's seed.
        number: the step's number, from 1.
    """
    mixed = (seed + number * 0x9E37_79B9_7F4A_7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return (mixed ^ (mixed >> 31)) >> 32
