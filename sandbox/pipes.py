"""Pipes between the supervisor and a child that does not deserve trust."""

from __future__ import annotations

import os


def one_way_pipe(flags: int) -> tuple[int, int]:
    """A pipe (read end, write end) that its holders cannot open a second time.

    By `/proc/self/fd` a program could turn a pipe around: take its mark of being ready back out of the report, or leave
    something in the orders, and so pass its failure off as ours.

    Args:
        flags: as for pipe2(2).

    Raises:
        OSError: out of descriptors.
    """
    read, write = os.pipe2(flags)
    os.fchmod(read, 0)  # of both ends; no child has a privilege to ignore it or a system call to undo it
    return read, write
