"""The command `thor` as a person calls it: in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

THOR = [sys.executable, "-m", "thor_ray.cli"]


def thor(place: Path, *arguments: str, columns: int = 120) -> "subprocess.CompletedProcess[str]":
    """Calls a command in the folder ``place`` and waits for its end; the user's own problem files are out of sight."""
    inherited = {name: value for name, value in os.environ.items() if name != "THOR_DATA"}
    return subprocess.run(
        [*THOR, *arguments],
        cwd=place,
        env={**inherited, "COLUMNS": str(columns), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
