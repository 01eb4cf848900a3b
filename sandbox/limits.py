"""What one program may use."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB
MAX_WALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one program; every field that is given is positive.

    Attributes:
        wall_seconds: time from dispatch to the end, unless a call asks for another; at most 60. The supervisor kills at
            the deadline.
        cpu_seconds: computing time, in the whole seconds that RLIMIT_CPU counts. Unlike time on the clock it does not depend on
            what else the machine does. None for as much as one core gives until the deadline, which is never exceeded.
        memory_bytes: address space and private data *above* what the preloaded libraries already occupy.
        file_bytes: size of any one file that the program writes.
        open_files: open descriptors, the three standard streams included.
        threads: at a time; a program that has more is killed (`memory_limit`: each takes memory of the kernel's).
        output_bytes: stdout and stderr together; a program that writes more is killed (`output_limit`).
        output_head_bytes: what is kept from the beginning of each stream.
        output_tail_bytes: what is kept from the end of each stream; the middle is dropped and the result says `truncated`.
        program_bytes: size of the source text in UTF-8; a longer program is refused unread (`syntax_error`).
        scratch_bytes: all files in a program's directory together. From level 3 on; below, `file_bytes` bounds each file only.
        scratch_files: number of files and directories in it. From level 3 on.
        transfer_bytes: files and standard input that go in, and files that come out, each all together.

    Raises:
        ValueError: a field is not positive, or `wall_seconds` is above 60.
    """

    wall_seconds: float = 5.0
    cpu_seconds: int | None = None
    memory_bytes: int = 512 * MIB
    file_bytes: int = 16 * MIB
    open_files: int = 64
    threads: int = 256
    output_bytes: int = 8 * MIB
    output_head_bytes: int = 48 * KIB
    output_tail_bytes: int = 16 * KIB
    program_bytes: int = MIB
    transfer_bytes: int = 16 * MIB
    scratch_bytes: int = 64 * MIB
    scratch_files: int = 1024

    @property
    def share_bytes(self) -> int:
        """What one program may take of the machine's memory: its own, and the file system of its directory, which lies there."""
        return self.memory_bytes + self.scratch_bytes

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Limits.{field.name} is {value!r}; it must be a positive number")
        if self.cpu_seconds is not None and self.cpu_seconds != int(self.cpu_seconds):
            raise ValueError(f"Limits.cpu_seconds is {self.cpu_seconds!r}; it must be a whole number of seconds")
        check_timeout(self.wall_seconds, "Limits.wall_seconds")

    def computing_seconds(self, wall_seconds: float) -> int:
        """CPU time for a program with this deadline."""
        whole = math.ceil(wall_seconds)
        return whole if self.cpu_seconds is None else min(self.cpu_seconds, whole)


def check_timeout(seconds: float, name: str = "timeout") -> float:
    """Returns `seconds` if it is a time that the sandbox grants.

    Raises:
        ValueError: it is not in (0, 60].
    """
    if not 0 < seconds <= MAX_WALL_SECONDS:
        raise ValueError(f"{name} is {seconds!r}; it must be above 0 and at most {MAX_WALL_SECONDS:g} seconds")
    return float(seconds)
