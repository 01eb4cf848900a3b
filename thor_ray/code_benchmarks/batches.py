"""Tests of a suite, parted so that each part fits into one run of the sandbox."""

from collections.abc import Iterator, Sequence
from typing import Final

REFERENCE_SECONDS: Final = 3.0
"""Of the reference's time in one batch: a program may take four times as long, on a machine that may be busy."""


def batches(sizes: Sequence[int], seconds: Sequence[float], transfer_bytes: int) -> Iterator[slice]:
    """Parts of a suite, in order, each as large as may be and of one test at least.

    Args:
        sizes: Bytes of each test's input and expected output.
        seconds: That the reference took for each.
        transfer_bytes: What the sandbox takes in one run; a batch has a quarter of it, since the candidate's outputs
            may be larger than the expected ones.
    """
    start, size, spent = 0, 0, 0.0
    for index, (more_bytes, more_seconds) in enumerate(zip(sizes, seconds, strict=True)):
        full = size + more_bytes > transfer_bytes // 4 or spent + more_seconds > REFERENCE_SECONDS
        if full and index > start:
            yield slice(start, index)
            start, size, spent = index, 0, 0.0
        size += more_bytes
        spent += more_seconds
    if start < len(sizes):
        yield slice(start, len(sizes))
