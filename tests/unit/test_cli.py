"""Verbs end with the right code and one clear message; a traceback is there only on request."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import thor_ray.cli.app as cli
from tests.support.runs import write_run
from thor_ray.cli.configuration import schema_rows
from thor_ray.cli.runs import Launch, resolve
from thor_ray.config import Recipe, recipe_names
from thor_ray.errors import UserError
from thor_ray.runlog import RunLog


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work") / "runs" / "smoke"
    path.parent.mkdir()
    return write_run(path).parents[1]


def thor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs the verb in this process: exit code, standard output, standard error."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
    finally:
        signal.signal(signal.SIGTERM, handler)
    out = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.out, out.err


@pytest.mark.parametrize(
    ("arguments", "message", "fix"),
    [
        (["report", "nope"], "no run 'nope'", "runs here: smoke"),
        (["show", "smoke", "-t", "afte/1"], "no trajectory 'afte/1'", "after/1"),
        (["show", "smoke", "--stage", "lr"], "no stage 'lr'", "stages: tirgen"),
        (["config", "show", "no-such"], "no recipe 'no-such'", ""),
        (["config", "show", "bad.yaml"], "rl.group_sise: no such field; did you mean 'group_size'?", ""),
        (["config", "show", "--set", "seed=1"], "name the recipe", "--help"),
        (["config", "show", "bad.yaml", "--set", "seed"], "write it as section.field=value", ""),
        (["shw"], "No such command 'shw'", "--help"),
        (["show", "smoke", "--limit", "0"], "--limit", "--help"),
    ],
)
def test_bad_input_gets_one_message_a_remedy_and_code_2(runs, capsys, monkeypatch, arguments, message, fix):
    monkeypatch.chdir(runs)
    (runs / "bad.yaml").write_text("rl: {group_sise: 4}\n")
    code, out, err = thor(capsys, *arguments)
    assert code == 2
    assert message in err
    assert fix in err
    assert "Traceback" not in err + out


def test_debug_shows_the_traceback_wherever_it_stands(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    for arguments in (["--debug", "report", "nope"], ["report", "nope", "--debug"]):
        code, _, err = thor(capsys, *arguments)
        assert code == 2
        assert "Traceback" in err
        assert "error: no run 'nope'" in err


def test_a_bug_is_not_taken_for_bad_input(capsys, monkeypatch):
    def broken() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("thor_ray.environment.versions", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["version"])


def test_report_prints_the_table_and_where_the_files_are(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    code, out, _ = thor(capsys, "report", "smoke")
    assert code == 0
    assert "RL + correction" in out
    assert "holds RL lifts pass@1" in out
    assert "runs/smoke/report.html" in out
    assert json.loads((runs / "runs/smoke/report.json").read_text())["seed"] == 7


def test_show_lists_and_prints(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    code, out, _ = thor(capsys, "show", "smoke", "--status", "failed-code", "--stage", "evaluate_cold_start")
    assert code == 0
    assert "cold/1" in out
    assert "cold/0" not in out
    code, out, _ = thor(capsys, "show", "smoke", "--trajectory", "after/1")
    assert code == 0
    assert "masked" in out
    assert "version 3" in out


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_shipped_recipe_can_be_shown_and_read_back(recipe, capsys, tmp_path):
    code, out, _ = thor(capsys, "config", "show", recipe, "--set", "seed=5")
    assert code == 0
    (tmp_path / "copy.yaml").write_text(out)
    code, again, _ = thor(capsys, "config", "show", str(tmp_path / "copy.yaml"))
    assert again == out
    assert "seed: 5" in out


def test_the_schema_names_every_field_with_its_default(capsys):
    code, out, _ = thor(capsys, "config", "schema")
    assert code == 0
    assert "rl.group_size: 8  (integer ≥ 2)\n    G, trajectories per problem." in out
    assert "cold_start.optimizer.learning_rate: 2e-06" in out
    code, tree, _ = thor(capsys, "config", "schema", "--json")
    assert json.loads(tree) == Recipe.model_json_schema()


def test_the_schema_has_a_row_for_every_leaf_of_a_recipe():
    def leaves(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
        flat: dict[str, object] = {}
        for key, value in tree.items():
            flat |= leaves(value, f"{prefix}{key}.") if value and isinstance(value, dict) else {prefix + key: value}
        return flat

    rows = {path: json.loads(default) for path, default, _, _ in schema_rows(Recipe.model_json_schema())}
    assert rows == leaves(Recipe().model_dump(mode="json"))


def test_an_error_of_the_user_survives_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(UserError("the file is missing", "make one")))
    assert (error.message, error.remedy) == ("the file is missing", "make one")
    assert str(error) == "the file is missing\nmake one"


def launch(**changes: Any) -> Launch:
    plain = Launch("smoke", "smoke", (), None, None, resume=False, overwrite=False, dry_run=False)
    return replace(plain, **changes)


def test_a_launch_says_where_the_run_lies():
    assert resolve(launch())[1] == Path("runs/smoke")
    recipe, path = resolve(launch(name="2026", overrides=("seed=4",)))
    assert (recipe.name, recipe.seed, path) == ("2026", 4, Path("runs/2026"))
    assert resolve(launch(name="a", run_dir=Path("/elsewhere")))[1] == Path("/elsewhere")


def test_a_run_that_is_resumed_keeps_its_recipe(tmp_path):
    stored = Recipe(name="r", seed=11)
    RunLog.create(tmp_path / "r", stored, "smoke").__exit__(None, None, None)
    assert resolve(launch(run_dir=tmp_path / "r", resume=True))[0] == stored
    asked, path = resolve(launch(run_dir=tmp_path / "r", resume=True, overrides=("seed=12",)))
    with pytest.raises(UserError, match="seed is 11, not 12"):
        RunLog.resume(path, asked)


def test_a_run_is_resumed_by_its_own_verb_only(tmp_path):
    RunLog.create(tmp_path / "r", Recipe(), "train").__exit__(None, None, None)
    with pytest.raises(UserError, match="run of `thor train`") as caught:
        resolve(launch(run_dir=tmp_path / "r", resume=True))
    assert caught.value.remedy == "thor train --resume"
    with pytest.raises(UserError, match=r"no progress\.json") as caught:
        resolve(launch(run_dir=tmp_path / "none", resume=True))
    assert caught.value.remedy == "start it without --resume"
    with pytest.raises(UserError, match="exclude each other"):
        launch(resume=True, overwrite=True)


HEAVY = ("torch", "ray", "vllm", "transformers", "pyarrow", "sympy", "pydantic.main", "numpy", "deepspeed")


def test_help_is_quick_because_it_imports_nothing_heavy():
    script = f"""
import sys
sys.argv = ["thor", "--help"]
from thor_ray.cli import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "show" in done.stdout


SLEEPER = """
import sys, time
from thor_ray.cli.app import app, main

@app.command()
def sleep(resume: bool = False, overwrite: bool = False) -> None:
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_verb_cleans_up_and_says_how_to_go_on(number):
    command = [sys.executable, "-c", SLEEPER, "sleep", "--overwrite"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == "cleaned up\n"
    assert "Interrupted." in err
    assert "Go on with: thor sleep --resume" in err
    assert "Traceback" not in err
