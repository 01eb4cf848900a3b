"""What is missing is found before any work starts, all of it at once, and named with its remedy."""

import json
import os
import socket
import struct
from pathlib import Path

import pytest

from thor_ray import preflight
from thor_ray.doctor import Verdict, machine
from thor_ray.doctor.machine import check_disk, check_memory
from thor_ray.doctor.software import package_trouble
from thor_ray.errors import PreflightError
from thor_ray.preflight import (
    available_memory,
    disk_faults,
    file_faults,
    memory_faults,
    model_faults,
    port_faults,
    require,
    safetensors_trouble,
)


def write_weights(path: Path, values: int = 4) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * values))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory that is whole as far as its outside tells."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "tokenizer.json").write_text("{}")
    write_weights(path / "model.safetensors")
    return path


def test_a_whole_model_directory_has_no_faults(model):
    assert list(model_faults(model)) == []


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_part_of_a_model_is_named(model, missing):
    (model / missing).unlink()
    (fault,) = model_faults(model)
    assert missing in fault.message
    assert "save_pretrained" in fault.remedy


def test_a_torn_copy_of_the_weights_is_found_without_reading_them(model):
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    for end in (0, 5, 20, len(whole) - 1):
        weights.write_bytes(whole[:end])
        (fault,) = model_faults(model)
        assert "torn" in fault.message
    weights.write_bytes(whole + b"x")
    assert "torn" in str(safetensors_trouble(weights))
    weights.write_bytes(struct.pack("<Q", 4) + b"nope")
    assert "no safetensors file" in str(safetensors_trouble(weights))


def test_a_missing_shard_is_found(model):
    (model / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    write_weights(model / "model-1.safetensors")
    (fault,) = model_faults(model)
    assert "model-2.safetensors is missing" in fault.message


def test_there_is_no_model(tmp_path):
    (fault,) = model_faults(tmp_path / "none")
    assert "there is no model directory" in fault.message


def test_memory_and_disk_are_compared_with_what_is_there(tmp_path):
    assert list(memory_faults(1)) == list(disk_faults(tmp_path, 1)) == []
    (memory,), (disk,) = memory_faults(1 << 40), disk_faults(tmp_path / "new" / "run", 1 << 40)
    assert f"{1 << 40} MiB of memory are needed" in memory.message
    assert "MiB of disk are needed" in disk.message


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "CGROUP", tmp_path)
    unlimited = available_memory()
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{100 << 20}\n")
    assert available_memory() == 200 < unlimited
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 200


def test_a_taken_port_is_found():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (fault,) = port_faults(port, "the dashboard")
        assert f"port {port} for the dashboard is taken" in fault.message
    assert list(port_faults(port, "the dashboard")) == []


def test_a_missing_file_is_found(tmp_path):
    (fault,) = file_faults(tmp_path / "train.jsonl", "problem file")
    assert "there is no problem file" in fault.message
    (tmp_path / "train.jsonl").write_text("{}")
    assert list(file_faults(tmp_path / "train.jsonl", "problem file")) == []
    if os.geteuid() != 0:  # root may read everything
        (tmp_path / "train.jsonl").chmod(0)
        (fault,) = file_faults(tmp_path / "train.jsonl", "problem file")
        assert "may not be read" in fault.message


def test_all_faults_are_named_at_once(tmp_path):
    require(memory_faults(1), disk_faults(tmp_path, 1))
    with pytest.raises(PreflightError) as one:
        require(memory_faults(1), disk_faults(tmp_path, 1 << 40))
    assert one.value.remedy.startswith("free ")
    with pytest.raises(PreflightError, match="2 things are in the way") as two:
        require(memory_faults(1 << 40), model_faults(tmp_path / "none"))
    assert "MiB of memory are needed" in str(two.value)
    assert "there is no model directory" in str(two.value)


def test_package_trouble_names_what_is_missing_and_what_is_of_another_version():
    installed = {"torch": "2.13.0+cpu", "ray": "2.59.0"}
    wanted = ["torch==2.13.0", "ray[default]==2.60.0", "numpy>=2.3,<2.4", 'pytest==9; extra == "dev"']
    assert package_trouble(wanted, installed.get) == ["ray is 2.59.0, not ==2.60.0", "numpy is missing"]


@pytest.mark.parametrize(
    ("mebibytes", "verdict"), [(20000, Verdict.OK), (6000, Verdict.WARNING), (1000, Verdict.ERROR)]
)
def test_the_doctor_judges_memory_and_disk(monkeypatch, mebibytes, verdict):
    monkeypatch.setattr(machine, "available_memory", lambda: mebibytes)
    monkeypatch.setattr(machine, "free_mebibytes", lambda path: mebibytes)
    for check in (check_memory(), check_disk()):
        assert check.verdict is verdict
        assert bool(check.remedy) == (verdict is not Verdict.OK)
        assert f"{mebibytes / 1024:.1f} GiB" in check.found
