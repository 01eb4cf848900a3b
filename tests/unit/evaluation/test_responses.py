"""Recorded responses are checked whole before anything is graded, and graded like any other."""

import json
from pathlib import Path

import pytest

from thor_ray.errors import UserError
from thor_ray.evaluation.responses import BATCH, grade_responses, read_responses
from thor_ray.evaluation.samples import EvaluationSample
from thor_ray.evaluation.scoring import prepare_scoring, score
from thor_ray.evaluation.store import EvaluationDirectory
from thor_ray.grading import Grade, GraderPool, GradeStatus
from thor_ray.problems import Problem
from thor_ray.trajectory import FinishReason

PROBLEMS = {
    f"p{number}": Problem(f"p{number}", "How many?", str(number), "mine", 1 + number % 2, subject="Counting")
    for number in range(4)
}


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def box(answer: object) -> str:
    return f"So it is $\\boxed{{{answer}}}$."


def test_several_responses_to_a_problem_are_its_samples(tmp_path):
    path = written(
        tmp_path / "r.jsonl",
        {"id": "p1", "response": box(1)},
        {"id": "p2", "response": "", "tokens": 5, "finish_reason": "length", "score": -1.5, "other": []},
        "",
        {"id": "p1", "response": "none", "finish_reason": "stop"},
    )
    first, second, third = read_responses(path, PROBLEMS)
    assert [(one.problem_id, one.sample_index) for one in (first, second, third)] == [("p1", 0), ("p2", 0), ("p1", 1)]
    assert (second.tokens, second.finish, second.score) == (5, FinishReason.LENGTH, -1.5)
    assert (first.tokens, first.finish, third.finish) == (None, None, FinishReason.ANSWERED)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"id": "p9", "response": "x"}, r"r\.jsonl:2: there is no problem 'p9'"),
        ({"response": "x"}, r"r\.jsonl:2: id: Field required"),
        ({"id": "p1", "response": None}, r"r\.jsonl:2: response: Input should be a valid string"),
        ({"id": 1, "response": "x"}, r"r\.jsonl:2: id: Input should be a valid string"),
        ({"id": "p1", "response": "x", "finish_reason": "eos"}, r"finish_reason: Input should be 'stop' or 'length'"),
        ({"id": "p1", "response": "x", "tokens": -1}, r"tokens: Input should be greater"),
        ("[1]", r"r\.jsonl:2: not an object"),
        ("{", r"r\.jsonl:2: not JSON"),
    ],
)
def test_a_line_that_is_no_response_is_named(tmp_path, line, fault):
    path = written(tmp_path / "r.jsonl", {"id": "p1", "response": "x"}, line)
    with pytest.raises(UserError, match=fault):
        read_responses(path, PROBLEMS)


def test_all_lines_are_checked_and_the_first_faults_shown(tmp_path):
    path = written(tmp_path / "r.jsonl", *[{"id": "none", "response": ""}] * 25)
    with pytest.raises(UserError, match="and 15 more faulty lines") as caught:
        read_responses(path, PROBLEMS)
    assert "'p0', 'p1', 'p2'" in caught.value.remedy


@pytest.mark.parametrize(("content", "fault"), [(b"", "holds no responses"), (b"\xff\xfe", "not UTF-8 text")])
def test_a_file_without_responses_is_refused(tmp_path, content, fault):
    (tmp_path / "r.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=fault):
        read_responses(tmp_path / "r.jsonl", PROBLEMS)
    with pytest.raises(UserError, match="cannot be read"):
        read_responses(tmp_path / "none.jsonl", PROBLEMS)


def test_rows_carry_what_the_grader_and_the_problem_say(tmp_path):
    path = written(
        tmp_path / "r.jsonl",
        {"id": "p1", "response": box(1), "tokens": 7, "score": 0.5},
        {"id": "p1", "response": box("1.5")},
        {"id": "p2", "response": "I give up"},
        {"id": "p3", "response": box("2+1")},
    )
    with GraderPool() as pool:
        rows = list(grade_responses(read_responses(path, PROBLEMS), PROBLEMS, "mine", pool.grade_many))
    assert [row.status for row in rows] == [
        GradeStatus.CORRECT, GradeStatus.WRONG, GradeStatus.NO_BOX, GradeStatus.CORRECT,
    ]  # fmt: skip
    first = rows[0]
    assert (first.answer, first.gold, first.subject, first.level) == ("1", "1", "Counting", 2)
    assert first.tokens is not None
    assert (first.tokens.generated, first.external_score) == (7, 0.5)
    assert first.code is None
    assert first.timing is not None
    assert first.timing.llm is None


def test_grading_goes_on_batch_by_batch(tmp_path):
    path = written(tmp_path / "r.jsonl", *[{"id": "p1", "response": str(number)} for number in range(BATCH + 6)])
    sizes = []

    def grade_many(pairs):
        sizes.append(len(pairs))
        return [Grade(GradeStatus.WRONG, "no", "test", response, 1.0) for response, _ in pairs]

    rows = list(grade_responses(read_responses(path, PROBLEMS), PROBLEMS, "mine", grade_many))
    assert sizes == [BATCH, 6]
    assert [row.answer for row in rows] == [str(number) for number in range(BATCH + 6)]


def problem_file(path: Path) -> Path:
    lines = [{"id": p.id, "problem": p.question, "answer": p.answer, "level": p.level} for p in PROBLEMS.values()]
    return written(path / "mine.jsonl", *lines)


def test_scoring_goes_on_where_it_was_interrupted(tmp_path):
    responses = written(tmp_path / "r.jsonl", *[{"id": f"p{n % 4}", "response": box(n % 3)} for n in range(150)])
    scoring = prepare_scoring(responses, problem_file(tmp_path), "run")
    directory = EvaluationDirectory(tmp_path / "evaluation")
    directory.create(scoring.about)
    with GraderPool() as pool:

        def interrupt(row):
            if row.problem_id == "p0" and row.sample_index == 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            score(scoring, directory, pool, interrupt)
        half = directory.samples()
        assert 0 < len(half) < 150
        again: list[EvaluationSample] = []
        rows = score(scoring, directory, pool, again.append)
    assert len(rows) == 150
    assert len(again) == 150 - len(half)
    assert {row.attempt for row in again} == {2}
    assert {row.key: row for row in rows}.items() >= {row.key: row for row in half}.items()


def test_problems_without_a_response_are_told(tmp_path):
    responses = written(tmp_path / "r.jsonl", {"id": "p1", "response": box(1)})
    scoring = prepare_scoring(responses, problem_file(tmp_path), "run")
    assert scoring.unanswered == 3
    assert scoring.about.settings["problems without a response"] == "3 of 4, missing from every figure"
    assert scoring.benchmark == "mine"


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no benchmark 'nope'"):
        prepare_scoring(written(tmp_path / "r.jsonl", "{}"), "nope", "run")
