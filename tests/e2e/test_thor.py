"""The command as a person uses it: a process of its own, its report in a real browser."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.browser import browse, needs_chromium, width_in_frame
from tests.support.commands import THOR, thor
from tests.support.model_server import running_server
from tests.support.runs import write_run


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with one run and its report."""
    place = tmp_path_factory.mktemp("work")
    (place / "runs").mkdir()
    write_run(place / "runs" / "smoke")
    done = thor(place, "report", "smoke")
    assert done.returncode == 0, done.stderr
    return place


@needs_chromium
def test_the_report_opens_in_a_browser(work, tmp_path):
    dom = browse(work / "runs/smoke/report.html", tmp_path / "profile", "--dump-dom")
    assert dom.count("<svg") == 3
    assert "RL + correction" in dom
    assert dom.count("<details") == 11


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_never_wider_than_the_screen(work, tmp_path, width):
    """Only the table may scroll, and inside its own frame."""
    assert width_in_frame(work / "runs/smoke/report.html", width, tmp_path / "profile") == f"{width} of {width}"


def test_a_pipe_that_closes_early_is_no_error(work):
    script = f"{' '.join(THOR)} show smoke --limit 100 | head -1"
    done = subprocess.run(["bash", "-c", script], cwd=work, capture_output=True, text=True, timeout=120, check=True)
    assert "trajectory" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_doctor_examines_this_machine_and_starts_an_engine(work):
    done = thor(work, "doctor", "smoke", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert set(checks) >= {
        "python",
        "packages",
        "known conflicts",
        "memory",
        "disk",
        "/dev/shm",
        "GPU",
        "NCCL",
        "ports",
    }
    assert set(checks) >= {"ray cluster", "ray authentication", "data", "model of smoke", "problems of smoke"}
    for name in ("sandbox", "grader", "vLLM engine", "tiny policy"):
        assert checks[name]["verdict"] == "ok", checks[name]
    assert "level" in checks["sandbox"]["found"]
    errors = [check for check in checks.values() if check["verdict"] == "error"]
    assert all(check["remedy"] for check in checks.values() if check["verdict"] != "ok")
    assert done.returncode == (1 if errors else 0), done.stderr


def test_pretraining_does_not_replace_what_is_no_model(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    done = thor(tmp_path, "tiny", "pretrain", "thesis", "--updates", "2")
    assert done.returncode == 2
    assert "holds no pretrained base" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_a_dry_run_prints_the_plan_and_starts_nothing(tmp_path):
    done = thor(tmp_path, "smoke", "--dry-run", "--quick")
    assert done.returncode == 0, done.stderr
    assert "3 rounds" in done.stdout
    assert "600 train, 32 held out" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--problems", "broken.jsonl"), "broken.jsonl:2: not JSON"),
        (("train", "--problems", "none.jsonl"), "none.jsonl: no such problem file"),
        (("train", "--model", "no-model"), "there is no model directory no-model"),
        (("sft", "none.parquet"), "there is no demonstrations none.parquet"),
        (("smoke", "--set", "rl.sampling.top_p=0.9"), "rl.sampling needs top_p: 1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_started(tmp_path, arguments, message):
    (tmp_path / "broken.jsonl").write_text('{"problem": "1 + 1?", "answer": "2"}\nnot json\n')
    done = thor(tmp_path, *arguments, "--dry-run")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["broken.jsonl"]


SHORT = ("--set", "evaluation.sampling.max_new_tokens=48", "--set", "engine.max_sequences=8")


def test_a_solution_is_shown_as_it_comes(tmp_path):
    shown = thor(tmp_path, "solve", "What is 6 * 7?", "--self-correct", *SHORT)
    assert shown.returncode == 0, shown.stderr
    assert "answer: " in shown.stdout
    assert "tokens and" in shown.stdout
    assert "\x1b" not in shown.stdout, "colours in a pipe"


def test_the_best_of_several_solutions_by_a_reward_model(tmp_path):
    options = ("--n", "3", "--select", "self_rewarded_external", "--endpoint-model", "rm")
    with running_server(tmp_path / "requests.jsonl") as server:
        shown = thor(tmp_path, "solve", "What is 6 * 7?", *options, "--endpoint", server.url, *SHORT)
        asked = [request["body"]["messages"][0]["content"] for request in server.requests]
    assert shown.returncode == 0, shown.stderr
    assert asked == ["What is 6 * 7?"] * 3
    assert shown.stdout.count("answer: ") == 1, "only the chosen one is shown whole"
    assert "chosen by self rewarded external: the highest share of successful code" in shown.stdout
    assert "\x1b" not in shown.stdout, "colours in a pipe"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--select", "self_rewarded"), "--select would do nothing with a single solution"),
        (("--n", "4", "--endpoint", "http://127.0.0.1:1"), "a reward model would do nothing here"),
        (("--n", "4", "--select", "external"), "a reward model is needed"),
        (("--n", "4", "--select", "external", "--reward-model", "nowhere"), "there is no directory nowhere"),
    ],
)
def test_choices_that_cannot_be_made_are_refused_before_anything_is_started(tmp_path, arguments, message):
    refused = thor(tmp_path, "solve", "What is 6 * 7?", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_solutions_as_json(tmp_path):
    told = thor(tmp_path, "solve", "What is 6 * 7?", "--n", "3", "--json", "--select", "self_consistency", *SHORT)
    assert told.returncode == 0, told.stderr
    assert told.stderr.count("candidate ") == 3
    tree = json.loads(told.stdout)
    solutions = tree["solutions"]
    assert len(solutions) == 3
    assert [one["index"] for one in solutions if one["chosen"]] == [tree["choice"]["index"]]
    assert tree["choice"]["method"] == "self_consistency"
    assert tree["choice"]["why"]
    for solution in solutions:
        assert solution["tokens"]["kept"] > 0
        assert {segment["kind"] for segment in solution["segments"]} & {"thought", "answer"}
