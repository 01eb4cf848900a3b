"""Whoever takes part in the bench of the learner computes the same loss and steps alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "benches/learner_speed.py"
# Padding in the order of arrival is our padding with other rows in a micro-batch.
SMALL = (
    "--only torch trl sorted packed --repeats 1 --width 64 --layers 1 "
    "--sequences 8 --max-length 32 --micro-batch-tokens 64 --prompt-tokens 4"
)


@pytest.mark.integration
@pytest.mark.slow
def test_all_contestants_compute_the_same_loss_on_the_same_sequences(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCH), *SMALL.split(), "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # The bench itself refuses first losses that differ; these are after a step of everybody's optimizer.
    losses = {name: measured[0]["loss"] for name, measured in json.loads(figures.read_text())["updates"].items()}
    assert set(losses) == {"torch", "trl", "sorted", "packed"}
    assert max(losses.values()) - min(losses.values()) < 1e-4
    assert "packed / trl" in done.stdout
