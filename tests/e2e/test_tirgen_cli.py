"""`thor tirgen rewrite` as a person uses it: a file of worked solutions in, tables and files out."""

import json

from datasets import load_dataset

from tests.support.commands import thor

ROWS = [
    {
        "id": "a",
        "question": "3 boxes of 12 eggs, how many?",
        "answer": "There are 3 * 12 = <<3*12=36>>36 eggs.\n#### 36",
    },
    {"id": "b", "question": "How many sides has a cube?", "answer": "It has six faces.\n#### 6"},
    {
        "id": "c",
        "question": "What is left of $20 after 2 pens at $4?",
        "solution": "It is $20 - 2*$4 = $12.\n\\boxed{12}",
    },
]


def test_solutions_are_rewritten_filtered_and_compared(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tests = {"id": "t", "problem": ROWS[2]["question"], "answer": "12"}
    (tmp_path / "tests.jsonl").write_text(json.dumps(tests) + "\n")
    called = thor(
        tmp_path, "tirgen", "rewrite", "rows.jsonl", "--tests", "tests.jsonl", "--compare", "release", "--output", "out"
    )
    assert called.returncode == 0, called.stderr
    assert "kept by ours alone" in called.stdout
    assert "long_enough: too short 1: tirgen/worked_solution/0" in " ".join(called.stdout.replace("│", " ").split())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    reasons = {rule["name"]: rule["reasons"] for rule in report["funnel"]["rules"] if rule["reasons"]}
    assert reasons == {"not_in_tests": {"in tests.jsonl": 1}, "uses_code": {"no program": 1}}
    assert report["difference"]["only_first"]["count"] == 1
    (kept,) = [json.loads(line) for line in (tmp_path / "out" / "messages.jsonl").read_text().splitlines()]
    assert kept["problem_id"] == "a"
    assert kept["messages"][1]["content"].endswith("```output\n36\n```\nThe answer is \\boxed{36}.")
    (conversation,) = [json.loads(line) for line in (tmp_path / "out" / "sharegpt.jsonl").read_text().splitlines()]
    assert [turn["value"] for turn in conversation["conversations"]] == [turn["content"] for turn in kept["messages"]]
    (row,) = load_dataset(str(tmp_path / "out" / "dataset"), split="train", cache_dir=str(tmp_path / "cache"))
    assert row["messages"] == kept["messages"]
    assert [piece["kind"] for piece in row["segments"]] == ["thought", "action", "observation", "answer"]
    card = (tmp_path / "out" / "dataset" / "README.md").read_text()
    assert card.startswith("---\npretty_name: out\n")
    assert "| source | worked_solution | 1 |" in card
    called = thor(tmp_path, "tirgen", "inspect", "out", "--rejected", "--rule", "uses_code")
    assert called.returncode == 0, called.stderr
    assert "problem b  rejected, uses_code: no program" in called.stdout
    assert "1 shown, 1 match, 3 in all" in called.stdout
    called = thor(tmp_path, "tirgen", "inspect", "out", "--html", "page.html")
    assert "3 of 3 written to page.html" in called.stdout
    assert "There are 3 * 12 = 36 eggs." in (tmp_path / "page.html").read_text()


def test_problems_without_solutions_and_unknown_lists_are_refused(tmp_path):
    (tmp_path / "bare.jsonl").write_text(json.dumps({"problem": "What is 1 + 1?", "answer": "2"}) + "\n")
    called = thor(tmp_path, "tirgen", "rewrite", "bare.jsonl")
    assert called.returncode == 2
    assert "no worked solution" in called.stderr
    called = thor(tmp_path, "tirgen", "rewrite", "bare.jsonl", "--filters", "best")
    assert called.returncode == 2
    assert "'best' is not one of 'ours', 'paper', 'release'" in called.stderr
