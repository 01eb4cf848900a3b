"""A short soak: thousands of programs, attacks and sessions among them, leave the sandbox as it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[3] / "benches" / "sandbox_soak.py"


@pytest.mark.slow
def test_a_short_soak_meets_its_goals(tmp_path):
    figures = tmp_path / "soak.json"
    done = subprocess.run(
        [sys.executable, str(SOAK), "--executions", "2000", "--json", str(figures)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert found["executions"] == 2000
    assert found["statuses"]["honest ok"] > 1000
    assert all(goal["met"] for goal in found["goals"].values())
