"""One program to run, as the caller states it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandbox.limits import check_timeout

MAX_SEED = 2**32 - 1
"""NumPy takes no larger one."""


@dataclass(frozen=True, slots=True)
class Request:
    """A program and how to run it.

    Attributes:
        code: Python source, run as `__main__` with an empty standard input in an empty directory.
        timeout: wall-clock seconds, at most 60; None takes the sandbox's default.
        seed: what `random`, NumPy and SymPy start from, 0 to 2**32 - 1; None draws one, which the result names.

    Raises:
        TypeError: the code is no string.
        ValueError: timeout or seed is out of range.
    """

    code: str
    timeout: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.code, str):
            raise TypeError(f"code must be a string, not {type(self.code).__name__}")
        if self.timeout is not None:
            check_timeout(self.timeout)
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed!r}; it must be an integer from 0 to {MAX_SEED}")

    def drawn_seed(self) -> int:
        """The seed, or a fresh one."""
        return int.from_bytes(os.urandom(4), "little") if self.seed is None else self.seed
