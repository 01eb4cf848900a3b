"""What README and docs tell people to do: commands are run here, or by the test that is named; snippets of extending.md are run."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

from tests.support.runs import write_run
from tests.support.thor_commands import DocumentCommand, document_commands, fenced_blocks
from thor_ray.cli import main
from thor_ray.tiny import base_model_path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [command for document in DOCUMENTS for command in document_commands(document)]

RUN_HERE = {
    ("config", "show"), ("config", "schema"), ("config", "prompts"), ("config", "metrics"), ("problems", "show"),
    ("problems", "decontaminate"), ("show",), ("logs",), ("grade",), ("audit-golds",), ("plan",), ("version",),
}  # fmt: skip
"""Verbs that need neither cluster nor engine, and are quick."""

RUN_ELSEWHERE = {
    ("smoke",): "tests/e2e/test_runs.py",
    ("train",): "tests/e2e/test_runs.py",
    # Refused there; what it does when it is not is a stage of every smoke.
    ("sft",): "tests/e2e/test_thor.py",
    ("tirgen",): "tests/e2e/test_tirgen_cli.py",
    ("tirgen", "rewrite"): "tests/e2e/test_tirgen_cli.py",
    ("tirgen", "inspect"): "tests/e2e/test_tirgen_cli.py",
    ("eval",): "tests/e2e/test_evaluation_cli.py",
    ("eval", "compare"): "tests/e2e/test_evaluation_cli.py",
    ("eval", "report"): "tests/e2e/test_evaluation_cli.py",
    ("eval", "score"): "tests/e2e/test_rescoring_cli.py",
    ("eval", "judge"): "tests/e2e/test_rescoring_cli.py",
    ("solve",): "tests/e2e/test_thor.py",
    ("export",): "tests/integration/learners/test_export.py",
    ("dashboard",): "tests/e2e/test_dashboard_page.py",
    ("doctor",): "tests/e2e/test_thor.py",
    ("sandbox", "run"): "tests/e2e/test_sandbox_cli.py",
    ("sandbox", "check"): "tests/e2e/test_sandbox_cli.py",
    ("sandbox", "serve"): "tests/e2e/test_sandbox_cli.py",
    ("code", "check"): "tests/e2e/test_code_cli.py",
    ("problems", "list"): "tests/unit/cli/test_problems_and_prompts.py",
    ("submit",): "tests/e2e/test_submission.py",
    ("attach",): "tests/e2e/test_submission.py",
    ("stop",): "tests/e2e/test_submission.py",
    ("study",): "tests/unit/study",
}
"""Where those verbs are run that need more; `tests/unit/cli/test_documented_commands.py` parses each as it stands."""

NOT_HERE = {"docker": "Docker", "kubectl": "Kubernetes", "sbatch": "Slurm", "hf": "downloaded", "pip": "extra"}
"""Programs of others that a test machine lacks, and the word by which the document says what they need."""

STAND_INS = {
    "DIR": str(base_model_path()),
    "HEAD": "127.0.0.1",
    "/shared/models/Qwen2.5-Math-7B": str(base_model_path()),
    "math500,olympiadbench,aime2024": "benchmark.jsonl",
    # The tiny policy has no chat template.
    "chat": "bare",
}


def verb_of(command: DocumentCommand) -> tuple[str, ...]:
    """The verb of a command of `thor`, with the one below it if that is one that we know."""
    words = tuple(command.words[1:3])
    return words if words in RUN_HERE | RUN_ELSEWHERE.keys() else words[:1]


def thor_commands() -> list[DocumentCommand]:
    return [command for command in COMMANDS if command.words[0] == "thor"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands speak of."""
    place = tmp_path_factory.mktemp("docs")
    (place / "runs").mkdir()
    write_run(place / "runs" / "smoke")
    (place / "runs" / "smoke" / "logs" / "actors.log").write_text("engine 1 | ready\n")
    problem = '{"id": "a", "problem": "What is 6 times 7?", "answer": "42"}\n'
    for name in ("mine.jsonl", "train.jsonl", "benchmark.jsonl", "PROBLEMS.jsonl", "problems.jsonl"):
        (place / name).write_text(problem)
    (place / "CASES.jsonl").write_text('{"response": "It is \\\\boxed{42}.", "gold": "42"}\n')
    (place / "dist.json").write_text('{"lengths": [20, 40, 90], "step_lengths": [10]}')
    return place


@contextlib.contextmanager
def working_in(place: Path):
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    "command", [command for command in thor_commands() if verb_of(command) in RUN_HERE], ids=lambda c: c.where
)
def test_a_command_that_needs_nothing_runs_as_it_stands(command, place):
    words = [STAND_INS.get(word, word) for word in command.words[1:]]
    if words[0] == "plan" and "--measured" in words:
        pytest.skip("tests/unit/planning/test_measured.py plans by a run that was timed")
    if words[:2] == ["problems", "show"] and "--index" in words:
        pytest.skip("needs the benchmark's file: tests/unit/cli/test_problems_and_prompts.py")
    if words[0] in {"show", "logs"}:
        # Whatever the run is called in the document.
        words[1] = "runs/smoke"
    if words[0] == "plan":
        # Rounds of a real recipe take the simulation long.
        words += ["--set", "rl.groups_per_round=64", "--set", "rl.updates_per_round=1"]
        words += ["--set", "rl.step_groups_per_round=16"]
    words = [word for word in words if word != "--follow"]
    with working_in(place), pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0, command.text


def test_every_command_is_run_by_some_test():
    for command in thor_commands():
        verb = verb_of(command)
        assert verb in RUN_HERE or verb in RUN_ELSEWHERE, f"{command.where}: name the test that runs it"
    for verb, test in RUN_ELSEWHERE.items():
        files = [ROOT / test] if test.endswith(".py") else sorted((ROOT / test).glob("*.py"))
        text = "\n".join(file.read_text() for file in files)
        assert f'"{verb[-1]}"' in text or f".{verb[-1]}" in text, f"{test} does not run `thor {' '.join(verb)}`"


def test_other_programs_are_ours_or_named_as_missing():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in COMMANDS:
        program, *words = [word for word in command.words if "=" not in word.split("/")[0]]
        document = next(path for path in DOCUMENTS if command.where.startswith(f"{path.name}:"))
        if program == "make":
            assert words[0] in targets, command.where
        elif program.endswith("python") and words[0] != "-m":
            assert (ROOT / words[0]).is_file(), command.where
        elif program in NOT_HERE:
            assert NOT_HERE[program] in document.read_text(), f"{command.where}: say what it needs"


@pytest.mark.parametrize(
    "snippet",
    [text for _, language, text in fenced_blocks(ROOT / "docs/extending.md") if language == "python"],
    ids=["problems", "model", "tool", "reward"],
)
def test_snippets_of_extending_run(snippet, place):
    with working_in(place), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(snippet, "docs/extending.md", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), target
