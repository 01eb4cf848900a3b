"""``thor eval`` and its verbs as a person uses them, their pages in a real browser."""

import json
import random
from pathlib import Path

import pytest

from tests.support.browser import needs_chromium, width_in_frame
from tests.support.commands import thor
from tests.support.runs import write_run
from thor_ray.evaluation.figures import ComparisonReport, EvaluationReport


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, problems, and two files of responses: two samples a problem, the second file better."""
    place = tmp_path_factory.mktemp("work")
    (place / "runs").mkdir()
    write_run(place / "runs" / "smoke")
    chance = random.Random(3)
    problems = [
        {"id": f"p{n}", "problem": f"{n} + 1/2?", "answer": f"{2 * n + 1}/2", "level": 1 + n % 3} for n in range(60)
    ]
    (place / "halves.jsonl").write_text("".join(json.dumps(one) + "\n" for one in problems))
    for name, skill in (("weak", 0.4), ("strong", 0.8)):
        lines = [
            {"id": f"p{n}", "response": f"\\boxed{{{n + 0.5 if chance.random() < skill else n}}}", "tokens": 10 + n}
            for n in range(60)
            for _ in range(2)
        ]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        done = thor(place, "eval", "--responses", f"{name}.jsonl", "--problems", "halves.jsonl")
        assert done.returncode == 0, done.stderr
        assert "grading: done" in done.stdout
        assert "halves" in done.stdout
    return place


def test_responses_become_rows_and_three_reports(work):
    place = work / "runs/strong/evaluation"
    assert sorted(path.name for path in place.iterdir()) == [
        "about.json", "report.html", "report.json", "report.md", "samples.jsonl",
    ]  # fmt: skip
    assert len((place / "samples.jsonl").read_text().splitlines()) == 120
    [part] = EvaluationReport.model_validate_json((place / "report.json").read_text()).benchmarks
    assert (part.benchmark, part.problems, part.samples_per_problem) == ("halves", 60, 2)
    assert 0.7 < part.accuracy.value < 0.9
    assert [one.name for one in part.levels] == ["1", "2", "3"]


def test_an_evaluation_is_not_overwritten_unasked_and_can_be_gone_on_with(work):
    arguments = ("eval", "--responses", "weak.jsonl", "--problems", "halves.jsonl")
    before = (work / "runs/weak/evaluation/report.json").read_text()
    refused = thor(work, *arguments)
    assert refused.returncode == 2
    assert "holds an evaluation already" in refused.stderr
    gone_on = thor(work, *arguments, "--resume")
    assert gone_on.returncode == 0, gone_on.stderr
    assert (work / "runs/weak/evaluation/report.json").read_text() == before
    other = thor(
        work, "eval", "--responses", "strong.jsonl", "--problems", "halves.jsonl", "--name", "weak", "--resume"
    )
    assert other.returncode == 2
    assert "was started with other settings" in other.stderr


def test_two_evaluations_are_compared(work):
    done = thor(work, "eval", "compare", "weak", "strong", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "b is better" in done.stdout
    assert "exact sign test" in done.stdout
    as_json = thor(work, "eval", "compare", "weak", "strong", "--json")
    report = ComparisonReport.model_validate_json(as_json.stdout)
    assert report == ComparisonReport.model_validate_json((work / "out/comparison.json").read_text())
    assert report.benchmarks[0].verdict == "b is better"


def test_stages_of_one_run_are_compared(work):
    done = thor(work, "eval", "compare", "smoke:evaluate_cold_start", "smoke:evaluate_rl")
    assert done.returncode == 0, done.stderr
    assert "exact McNemar test" in done.stdout
    assert "code pass rate" in done.stdout


def test_a_report_can_be_shown_again(work):
    done = thor(work, "eval", "report", "smoke:evaluate_rl", "--json")
    assert EvaluationReport.model_validate_json(done.stdout).benchmarks[0].problems == 24


def test_the_schema_of_reports_can_be_printed(work):
    done = thor(work, "eval", "schema")
    assert {"EvaluationReport", "ComparisonReport", "PairedTest"} <= set(json.loads(done.stdout)["$defs"])


def test_without_a_verb_eval_evaluates_a_policy(work):
    for words in (("eval",), ("eval", "run")):
        done = thor(work, *words, "--dry-run", "--set", "problems.heldout.count=5")
        assert done.returncode == 0, done.stderr
        assert "5 problems × 4" in done.stdout
    assert not (work / "runs/eval").exists()
    for word in ("--responses", "--self-correct", "thor eval compare A B"):
        assert word in thor(work, "eval", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "weak", "nope"), "no evaluation 'nope'"),
        (("compare", "smoke", "weak"), "smoke holds several evaluations"),
        (("compare", "smoke:evaluate_rl", "weak"), "have judged no problem in common: held-out against halves"),
        (("compare", "weak"), "Missing argument"),
        (("--responses", "weak.jsonl"), "--responses need their problems"),
        (("--responses", "weak.jsonl", "--benchmarks", "nope"), "there is no benchmark 'nope'"),
        (
            ("--responses", "weak.jsonl", "--problems", "halves.jsonl", "--self-correct"),
            "--self-correct would do nothing beside",
        ),
        (("--benchmarks", "math500", "--problems", "halves.jsonl"), "--benchmarks and --problems exclude each other"),
        (("--benchmarks", "math500,nope", "--data-dir", "."), "there is no benchmark 'nope'"),
        (("--benchmarks", "math500,math-500", "--data-dir", "."), "one benchmark is named twice"),
        (("--benchmarks", "math500", "--data-dir", "."), "no file of benchmark math500 in ."),
        (("--strategy", "retry"), "there is no repair strategy 'retry'"),
        (("--strategy", "none", "--strategy", "none"), "strategies names one of its values twice"),
        (("--self-correct", "--strategy", "none"), "exclude each other"),
        (("--responses", "halves.jsonl", "--problems", "halves.jsonl", "--name", "x"), "response: Field required"),
        (("--responses", "weak.jsonl", "--problems", "halves.jsonl", "--name", "smoke"), "is a run of another verb"),
    ],
)
def test_bad_input_is_refused_with_one_message(work, arguments, message):
    done = thor(work, "eval", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (work / "runs/x").exists()


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_are_never_wider_than_the_screen(work, tmp_path, width):
    """Only tables may scroll, and inside their own frames."""
    assert thor(work, "eval", "compare", "weak", "strong", "--output", "pages").returncode == 0
    for page in ("runs/strong/evaluation/report.html", "pages/comparison.html"):
        assert width_in_frame(work / page, width, tmp_path / "profile") == f"{width} of {width}", page
