"""`thor grade` and `thor audit-golds` as a person uses them: processes of their own, files in, files out."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import THOR, thor

HANGING = {"gold": r"\zeta(\frac{7}{3})", "prediction": r"\zeta(\frac{7}{3}) + 10^{-1400}", "kind": "answer"}


def write_lines(path: Path, lines: list[Any]) -> None:
    """Objects as JSON, bytes as they are."""
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n"
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_gets_a_verdict_in_order(tmp_path):
    cases: list[Any] = [
        {"id": "a", "gold": "5", "prediction": "First \\boxed{4}, no: \\boxed{5}."},
        {"id": "b", "gold": r"2\sqrt{3}", "prediction": r"so \boxed{\sqrt{12}}"},
        {"id": "c", "gold": r"2\sqrt{3}", "prediction": r"so \boxed{2\sqrt{5}}"},
        b"{not json",
        {"id": "d", "gold": "5", "prediction": "it is 5"},
        {"id": "e", "gold": "5"},
        b"\xff\xfe",
        {"id": "f", "gold": ["5"], "prediction": "5"},
        {"id": "g", **HANGING},
        {"id": "h", "gold": "5", "prediction": "(" * 500, "kind": "answer"},
        {"id": 9, "gold": 7, "prediction": 7.0, "kind": "answer"},
        b"[" * 50_000,
        {"id": "i", "gold": "5", "prediction": "__import__('os').system('touch OWNED')", "kind": "answer"},
        *({"id": index, "gold": str(index), "prediction": rf"\boxed{{{index + index % 2}}}"} for index in range(300)),
    ]
    write_lines(tmp_path / "cases.jsonl", cases)
    started = time.monotonic()
    done = thor(tmp_path, "grade", "cases.jsonl", "--output", "verdicts.jsonl")
    assert time.monotonic() - started < 30
    assert done.returncode == 0, done.stderr
    verdicts = read_lines(tmp_path / "verdicts.jsonl")
    assert len(verdicts) == len(cases)
    assert {tuple(verdict) for verdict in verdicts} == {("id", "status", "reason", "path", "extracted", "milliseconds")}
    assert [(verdict["id"], verdict["status"]) for verdict in verdicts[:13]] == [
        ("a", "correct"),
        ("b", "correct"),
        ("c", "wrong"),
        (None, "error"),
        ("d", "no_box"),
        ("e", "error"),
        (None, "error"),
        ("f", "error"),
        ("g", "timeout"),
        ("h", "unparsable"),
        (9, "correct"),
        (None, "error"),
        ("i", verdicts[12]["status"]),
    ]
    assert verdicts[12]["status"] in ("wrong", "unparsable")
    assert [verdict["status"] for verdict in verdicts[13:]] == ["correct", "wrong"] * 150
    assert verdicts[3]["reason"].startswith("line 4: not JSON")
    assert verdicts[0]["extracted"] == "5"
    assert verdicts[8]["milliseconds"] < 2_500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.jsonl", "verdicts.jsonl"]
    assert "313 verdicts" in done.stderr


def test_predictions_may_be_answers_and_numbers_nearly_right(tmp_path):
    write_lines(
        tmp_path / "cases.jsonl",
        [
            {"id": 1, "gold": "3.46", "prediction": r"2\sqrt{3}"},
            {"id": 2, "gold": "3.46", "prediction": r"so \boxed{2\sqrt{3}}", "kind": "response"},
            {"id": 3, "gold": "3.46", "prediction": "3.6"},
        ],
    )
    arguments = ("grade", "cases.jsonl", "-o", "verdicts.jsonl", "--kind", "answer")
    assert thor(tmp_path, *arguments).returncode == 0
    assert [verdict["status"] for verdict in read_lines(tmp_path / "verdicts.jsonl")] == ["wrong"] * 3
    assert thor(tmp_path, *arguments, "--relative-tolerance", "0.01").returncode == 0
    verdicts = read_lines(tmp_path / "verdicts.jsonl")
    assert [(verdict["status"], verdict["path"]) for verdict in verdicts[:2]] == [("correct", "tolerance")] * 2
    assert verdicts[2]["status"] == "wrong"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.jsonl", "--output", "out.jsonl"), "none.jsonl cannot be read"),
        (("cases.jsonl", "--output", "nowhere/out.jsonl"), "there is no directory nowhere"),
        (("cases.jsonl",), "--output"),
        (("cases.jsonl", "--output", "out.jsonl", "--kind", "essay"), "essay"),
        (("cases.jsonl", "--output", "out.jsonl", "--relative-tolerance", "2"), "between 0 and 1"),
    ],
)
def test_what_cannot_be_done_is_refused_with_one_message(tmp_path, arguments, message):
    write_lines(tmp_path / "cases.jsonl", [{"id": 1, "gold": "5", "prediction": "5"}])
    done = thor(tmp_path, "grade", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cases.jsonl"]


def test_an_interrupted_run_leaves_neither_half_a_file_nor_a_process(tmp_path):
    hanging = [
        {"id": index, **HANGING, "prediction": f"{HANGING['prediction']} + {index} - {index}"} for index in range(50)
    ]
    write_lines(tmp_path / "cases.jsonl", hanging)
    running = subprocess.Popen(
        [*THOR, "grade", "cases.jsonl", "--output", "verdicts.jsonl"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    time.sleep(4)
    children = Path(f"/proc/{running.pid}/task")
    workers = [int(pid) for task in children.glob("*/children") for pid in task.read_text().split()]
    assert workers
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=15) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["cases.jsonl"]
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def test_the_audit_lists_golds_that_cannot_be_met(tmp_path):
    write_lines(
        tmp_path / "problems.jsonl",
        [
            {"id": "good", "problem": "?", "answer": r"\frac{1}{2}"},
            {"id": "number", "problem": "?", "answer": 12},
            {"id": "prose", "problem": "?", "answer": "np.arcsin(10/13)"},
            {"id": "broken", "problem": "?", "answer": r"\frac{1}{2"},
        ],
    )
    done = thor(tmp_path, "audit-golds", "problems.jsonl")
    assert done.returncode == 1
    assert "4 gold answers: 2 readable, 1 text_only, 1 unusable; 0 faulty lines" in done.stdout
    assert "brackets don't match" in done.stdout
    assert "good" not in done.stdout
    write_lines(tmp_path / "problems.jsonl", [{"answer": "5"}])
    assert thor(tmp_path, "audit-golds", "problems.jsonl").returncode == 0
    write_lines(tmp_path / "problems.jsonl", [{"answer": "5"}, {"problem": "?"}])
    done = thor(tmp_path, "audit-golds", "problems.jsonl")
    assert done.returncode == 1
    assert "line 2: field 'answer' is missing" in done.stdout
