"""Programs that simulate a cluster of several nodes, each in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def outcome_of(module: str, *arguments: str, seconds: float) -> dict[str, Any]:
    """Runs a program of `tests.support` to its end.

    Returns:
        The JSON that its last line holds.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # Ray notes the clusters that it starts in a file, and others on this machine would join what they find there.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as own:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.support.{module}", *arguments],
            cwd=ROOT,
            env={**inherited, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": own},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
