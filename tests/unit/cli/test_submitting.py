"""What a job runs, what is sent along, and what is said when the cluster cannot be reached."""

import shlex
import socket
from pathlib import Path

import pytest

from thor_ray.cli.job import with_resume
from thor_ray.cli.submitting import Verb, connected, job_command
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.runlog import RunLog


def test_a_jobs_command_is_the_verb_with_its_options_and_run_directory():
    options = ["--set", "rl.rounds=3", "--model", "/shared/a model"]
    words = shlex.split(job_command(Verb.TRAIN, "thor-7b", Path("/shared/runs/x"), "x", options))
    assert words[:3] == ["python", "-m", "thor_ray.cli.job"]
    assert words[3:] == ["train", "thor-7b", "--name", "x", "--run-dir", "/shared/runs/x", *options]


def test_the_smoke_has_its_recipe_built_in():
    assert "smoke --name" in job_command(Verb.SMOKE, "smoke", Path("/r/smoke"), "smoke", [])


def test_a_run_that_was_begun_is_resumed_and_no_other(tmp_path):
    arguments = ["train", "smoke", "--run-dir", str(tmp_path / "r")]
    assert with_resume(arguments) == arguments
    RunLog.create(tmp_path / "r", Recipe(), "train").__exit__(None, None, None)
    assert with_resume(arguments) == [*arguments, "--resume"]
    for said in ("--resume", "--overwrite"):
        assert with_resume([*arguments, said]) == [*arguments, said]


def test_a_cluster_that_does_not_answer_is_named():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no Ray cluster answers at {address}"), connected(address):
            pass
