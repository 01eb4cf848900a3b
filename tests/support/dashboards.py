"""A real `thor dashboard` process over some runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def dashboard(*runs: Path, options: tuple[str, ...] = (), cwd: Path | None = None) -> Iterator[str]:
    """Yields the address that it prints, and stops it as Ctrl-C does."""
    command = [sys.executable, "-m", "thor_ray.cli", "dashboard", *map(str, runs), "--port", "0", *options]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("dashboard: http://"), line + process.stdout.read()
        yield line.removeprefix("dashboard: ").strip()
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30)
        assert "Traceback" not in output, output
