"""A checkpoint that does not fit is refused before DeepSpeed reads a byte of it."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from learners.checkpoint import STATE_FILE, CheckpointError, CheckpointState, read_state, refuse_misfit

STATE = CheckpointState(version=4, updates=12, ranks=2, zero_stage=2, dtype="float32")


def write(path: Path, fields: object) -> Path:
    (path / STATE_FILE).write_text(json.dumps(fields))
    return path


def test_state_comes_back(tmp_path: Path):
    assert read_state(write(tmp_path, asdict(STATE))) == STATE


def test_a_directory_without_a_state_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="not a checkpoint of the learner"):
        read_state(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"format": 1, "version": 2}'])
def test_a_damaged_state_is_refused(tmp_path: Path, text: str):
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(tmp_path)


@pytest.mark.parametrize("fields", [[], {}, asdict(replace(STATE, format=99))])
def test_another_layout_is_refused(tmp_path: Path, fields):
    with pytest.raises(CheckpointError, match="layout"):
        read_state(write(tmp_path, fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranks": 1}, "learner.ranks: 1, and cannot be loaded with 2"),
        ({"zero_stage": 3}, "learner.zero_stage: 3"),
        ({"dtype": "bfloat16"}, "policy.dtype: bfloat16"),
    ],
)
def test_shards_of_another_group_are_refused(tmp_path: Path, change, message):
    with pytest.raises(CheckpointError, match=message):
        refuse_misfit(tmp_path, replace(STATE, **change), ranks=2, zero_stage=2, dtype="float32")


def test_a_fitting_checkpoint_passes(tmp_path: Path):
    refuse_misfit(tmp_path, STATE, ranks=2, zero_stage=2, dtype="float32")
