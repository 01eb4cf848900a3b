"""Which checkpoint a stage goes on from, and which are kept."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from learners.checkpoint import STATE_FILE, CheckpointError, CheckpointState
from learners.rotation import CheckpointRotation


def write(rotation: CheckpointRotation, step: int) -> Path:
    path = rotation.path(step)
    path.mkdir(parents=True)
    state = CheckpointState(version=step, updates=step, ranks=1, zero_stage=0, dtype="float32")
    (path / STATE_FILE).write_text(json.dumps(asdict(state)))
    return path


@pytest.fixture
def rotation(tmp_path: Path) -> CheckpointRotation:
    return CheckpointRotation(tmp_path / "rl", keep=2)


def test_without_checkpoints_there_is_nothing_to_go_on_from(rotation):
    assert rotation.newest() is None
    rotation.prune()


def test_the_newest_is_taken_by_number(rotation):
    for step in (9, 10, 2):
        write(rotation, step)
    found = rotation.newest()
    assert found.path == rotation.path(10)
    assert found.state.updates == 10
    assert found.refused == ()


def test_what_a_killed_writer_left_is_not_taken_and_goes_away(rotation):
    kept = write(rotation, 3)
    partial = write(rotation, 4).replace(rotation.directory / "step-00000004.partial")
    assert rotation.newest().path == kept
    rotation.prune()
    assert not partial.exists()
    assert rotation.complete() == [kept]


def test_the_newest_few_are_kept(rotation):
    for step in range(5):
        write(rotation, step)
        rotation.prune()
    assert rotation.complete() == [rotation.path(3), rotation.path(4)]
    assert len(list(rotation.directory.iterdir())) == 2


def test_a_damaged_one_gives_way_to_the_one_before_it_and_says_why(rotation):
    write(rotation, 1)
    (write(rotation, 2) / STATE_FILE).write_text("{")
    found = rotation.newest()
    assert found.path == rotation.path(1)
    assert ["step-00000002" in reason and "damaged" in reason for reason in found.refused] == [True]


def test_if_all_are_damaged_nothing_is_begun_anew_in_silence(rotation):
    for step in (1, 2):
        (write(rotation, step) / STATE_FILE).write_text("{")
    with pytest.raises(CheckpointError, match="no checkpoint can be gone on from") as caught:
        rotation.newest()
    assert str(rotation.directory) in caught.value.remedy


def test_a_stage_that_is_over_leaves_none(rotation):
    write(rotation, 1)
    rotation.clear()
    assert not rotation.directory.exists()


def test_keeping_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        CheckpointRotation(tmp_path, keep=0)
