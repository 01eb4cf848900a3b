"""A checkpoint that is damaged or does not fit is refused before DeepSpeed reads a byte of it."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from learners.checkpoint import (
    STATE_FILE,
    CheckpointError,
    CheckpointState,
    FileFact,
    fingerprint,
    put_in_place,
    read_state,
    refuse_misfit,
    verify,
)

STATE = CheckpointState(
    version=4,
    updates=12,
    ranks=2,
    zero_stage=2,
    dtype="float32",
    policy="a",
    settings="b",
    trained_groups=("rl0/e0", "rl0/s1"),
    progress={"rounds": 3},
)
CONTENT = b"weights"


def write(path: Path, fields: object) -> Path:
    path.mkdir(exist_ok=True)
    (path / STATE_FILE).write_text(json.dumps(fields))
    return path


def whole(path: Path) -> Path:
    """A checkpoint of one file."""
    fact = FileFact(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    write(path, asdict(replace(STATE, files={"engine/shard.pt": fact})))
    (path / "engine").mkdir()
    (path / "engine/shard.pt").write_bytes(CONTENT)
    return path


def test_state_comes_back(tmp_path: Path):
    assert read_state(write(tmp_path, asdict(STATE))) == STATE


def test_a_directory_without_a_state_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="not a checkpoint of the learner"):
        read_state(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"format": 2, "version": 2}', '{"format": 2, "files": {"a": 3}}', "\udcff"])
def test_a_damaged_state_is_refused(tmp_path: Path, text: str):
    (tmp_path / STATE_FILE).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(tmp_path)


@pytest.mark.parametrize("fields", [[], {}, asdict(replace(STATE, format=99))])
def test_another_layout_is_refused(tmp_path: Path, fields):
    with pytest.raises(CheckpointError, match="layout"):
        read_state(write(tmp_path, fields))


def test_a_whole_checkpoint_is_verified(tmp_path: Path):
    assert verify(whole(tmp_path)).progress == {"rounds": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "missing"), (CONTENT[:-1], "6 bytes instead of 7"), (b"weightz", "have changed since it was written")],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes | None, message: str):
    shard = whole(tmp_path) / "engine/shard.pt"
    shard.unlink() if content is None else shard.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"engine/shard\.pt.*{message}"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zero_stage": 3}, "learner.zero_stage: 3"),
        ({"dtype": "bfloat16"}, "policy.dtype: bfloat16"),
        ({"policy": "other"}, "belongs to another policy"),
        ({"settings": "other"}, "another objective, optimizer, schedule or temperature"),
    ],
)
def test_what_was_written_elsewhere_is_refused(tmp_path: Path, change, message):
    with pytest.raises(CheckpointError, match=message):
        refuse_misfit(tmp_path, replace(STATE, **change), STATE)


def test_another_number_of_ranks_is_refused_where_shards_cannot_be_dealt_anew(tmp_path: Path):
    here = replace(STATE, ranks=3)
    refuse_misfit(tmp_path, STATE, here)
    with pytest.raises(CheckpointError, match=r"learner\.ranks: 2, and cannot be loaded with 3"):
        refuse_misfit(tmp_path, STATE, here, same_ranks=True)


def test_a_fitting_checkpoint_passes(tmp_path: Path):
    refuse_misfit(tmp_path, replace(STATE, version=9, updates=3, trained_groups=()), STATE)


def test_fingerprints_tell_facts_apart():
    assert fingerprint({"a": 1, "b": 2}, None) == fingerprint({"b": 2, "a": 1}, None)
    assert len({fingerprint({"a": 1}), fingerprint({"a": 2}), fingerprint({"a": 1}, None)}) == 3


def test_a_directory_takes_the_place_of_another_whole(tmp_path: Path):
    old, new = tmp_path / "model", tmp_path / "model.partial"
    for path in (old, new):
        path.mkdir()
        (path / path.name).touch()
    put_in_place(new, old)
    assert [file.name for file in old.iterdir()] == ["model.partial"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
