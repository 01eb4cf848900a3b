"""Problem files: what is read, and what is refused with file and line."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.problems import Problem, ProblemFileError, load_problems
from thor_ray.problems.jsonl import parse_problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@pytest.fixture
def write(tmp_path: Path):
    def write_lines(*lines: str) -> Path:
        path = tmp_path / "sums.jsonl"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write_lines


def test_all_fields_are_read(write) -> None:
    path = write(
        '{"id": "a", "problem": "1 + 1?", "answer": "2", "level": "Level 3", "solution": "Add.", "license": "MIT"}',
        "",
        '{"question": "2 + 2?", "answer": 4, "difficulty": 4.5}',
    )
    assert load_problems(path) == [
        Problem("a", "1 + 1?", "2", "sums", 3, "Add."),
        Problem("sums-3", "2 + 2?", "4", "sums", 4, None),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "not JSON"),
        ('{"problem": "p", "answer": NaN}', "not JSON: NaN"),
        ('{"problem": "p", "answer": ' + "9" * 5000 + "}", "not JSON"),
        ("[1]", "not an object, but a list"),
        ("3", "not an object, but a number"),
        ('{"answer": "1"}', "field 'problem' (or 'question') is missing"),
        ('{"problem": "p", "question": "q", "answer": "1"}', "both 'problem' and 'question'"),
        ('{"problem": "p"}', "field 'answer' is missing"),
        ('{"problem": "p", "answer": null}', "field 'answer' is missing"),
        ('{"problem": "p", "answer": " "}', "field 'answer' is empty"),
        ('{"problem": "", "answer": "1"}', "field 'problem' is empty"),
        ('{"question": 3, "answer": "1"}', "field 'question' must be text, but is a number"),
        ('{"problem": "p", "answer": [1]}', "field 'answer' must be text or a number, but is a list"),
        ('{"problem": "p", "answer": true}', "field 'answer' must be text or a number, but is true or false"),
        ('{"problem": "p", "answer": 1e999}', "field 'answer' must be text or a number"),
        ('{"problem": "p", "answer": "1", "id": 7}', "field 'id' must be text"),
        ('{"problem": "p", "answer": "1", "level": "hard"}', "field 'level' must be a number or 'Level N'"),
        ('{"problem": "p", "answer": "1", "solution": {}}', "field 'solution' must be text, but is an object"),
        (r'{"problem": "\ud800", "answer": "1"}', "half a surrogate pair"),
    ],
)
def test_a_bad_line_is_refused_with_file_line_and_fault(write, line: str, fault: str) -> None:
    path = write('{"problem": "fine", "answer": "1"}', line)
    with pytest.raises(ProblemFileError) as refusal:
        load_problems(path, limit=1)
    assert str(refusal.value).startswith(f"{path}:2: ")
    assert fault in str(refusal.value)


def test_a_duplicate_id_names_both_lines(write) -> None:
    path = write(*(['{"id": "a", "problem": "p", "answer": "1"}'] * 2))
    with pytest.raises(ProblemFileError, match=r":2: id 'a' is already taken by line 1"):
        load_problems(path)


def test_every_faulty_line_is_counted(write) -> None:
    with pytest.raises(ProblemFileError, match=r"(?s):1: .*:10: .*and 5 more faulty lines"):
        load_problems(write(*["x"] * 15))


def test_missing_empty_and_binary_files_are_refused(write, tmp_path: Path) -> None:
    with pytest.raises(ProblemFileError, match="no such problem file"):
        load_problems(tmp_path / "absent.jsonl")
    with pytest.raises(ProblemFileError, match="holds no problems"):
        load_problems(write("", " "))
    with pytest.raises(ProblemFileError, match="cannot be read"):
        load_problems(tmp_path)
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ProblemFileError, match="not UTF-8"):
        load_problems(tmp_path / "binary.jsonl")


def test_limit_counts_after_a_seeded_shuffle(write) -> None:
    path = write(*(json.dumps({"problem": f"p{number}", "answer": number}) for number in range(50)))
    ordered = load_problems(path)
    shuffled = load_problems(path, shuffle_seed=1)
    assert shuffled != ordered
    assert sorted(shuffled, key=ordered.index) == ordered
    assert load_problems(path, shuffle_seed=1, limit=5) == shuffled[:5]
    assert load_problems(path, limit=80) == ordered
    with pytest.raises(ValueError, match="limit must be at least 1"):
        load_problems(path, limit=0)


@given(question=TEXT, answer=TEXT, solution=TEXT | st.none())
def test_text_survives_the_file(question: str, answer: str, solution: str | None) -> None:
    line = json.dumps({"problem": question, "answer": answer, "solution": solution})
    problem = parse_problem(line, default_id="d", source="s")
    assert (problem.question, problem.answer, problem.solution) == (question, answer, solution)


def test_real_problem_files_load() -> None:
    root = os.environ.get("THOR_DATA")
    if not root:
        pytest.skip("set THOR_DATA to a folder with real problem files (*.jsonl) to load them all")
    files = sorted(Path(root).rglob("*.jsonl"))
    assert files, f"THOR_DATA={root} holds no *.jsonl"
    for file in files:
        assert load_problems(file)
