"""``thor`` in the background, to be interrupted or killed in the middle."""

import os
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 600.0
"""Seconds that anything may take on a machine that others use, too."""


def begin(place: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """Starts ``thor`` in a directory, in a session of its own; what it prints goes into ``output.txt`` there."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_"))}
    with (place / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "thor_ray.cli", *arguments],
            cwd=place,
            env={**inherited, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def told(place: Path) -> str:
    """What it has printed so far."""
    return (place / "output.txt").read_text()


def wait_for_lines(process: "subprocess.Popen[bytes]", place: Path, file: Path, count: int) -> None:
    """Waits until a file has so many lines; a process that ends before it fails the test."""
    deadline = time.monotonic() + PATIENCE
    while not file.exists() or file.read_bytes().count(b"\n") < count:
        assert process.poll() is None, told(place)
        assert time.monotonic() < deadline, told(place)
        time.sleep(0.02)
