"""One program to run, as the caller states it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.limits import check_timeout
from sandbox.transfer import check_compatible, check_name

MAX_SEED = 2**32 - 1
"""NumPy takes no larger one."""


@dataclass(frozen=True, slots=True)
class Request:
    """A program and how to run it.

    Attributes:
        code: Python source, run as `__main__` in a directory of its own.
        timeout: wall-clock seconds, at most 60; None takes the sandbox's default.
        seed: what `random`, NumPy and SymPy start from, 0 to 2**32 - 1; None draws one, which the result names.
        files: what lies in the program's directory when it starts; names are relative and may contain directories.
        fetch: names of files to bring back after its end, whatever end it was; see `Result.files`.
        stdin: its standard input.

    Raises:
        TypeError: the code is no string, or a file or the input is not bytes.
        ValueError: timeout or seed is out of range, or a name leads out of the directory.
    """

    code: str
    timeout: float | None = None
    seed: int | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    fetch: Sequence[str] = ()
    stdin: bytes = b""

    def __post_init__(self) -> None:
        if not isinstance(self.code, str):
            raise TypeError(f"code must be a string, not {type(self.code).__name__}")
        if self.timeout is not None:
            check_timeout(self.timeout)
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed!r}; it must be an integer from 0 to {MAX_SEED}")
        if isinstance(self.fetch, str):
            raise TypeError(f"fetch must be a sequence of names, not the string {self.fetch!r}")
        for name in (*self.files, *self.fetch):
            check_name(name)
        check_compatible(self.files)
        for name, content in (*self.files.items(), ("stdin", self.stdin)):
            if not isinstance(content, bytes):
                raise TypeError(f"{name} must be bytes, not {type(content).__name__}")

    def transfer_bytes(self) -> int:
        """What goes in besides the program."""
        return len(self.stdin) + sum(map(len, self.files.values()))

    def drawn_seed(self) -> int:
        """The seed, or a fresh one."""
        return int.from_bytes(os.urandom(4), "little") if self.seed is None else self.seed
