"""Rows of real data sets become problems by an explicit table of fields; nothing is guessed."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.problems import FieldNames, ProblemFileError
from thor_ray.problems.fields import LOOKED_UP, problem_from_record
from thor_ray.problems.gold import bare_answer
from thor_ray.problems.problem import Problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
PLAIN = st.text(string.ascii_letters + string.digits + " +-*/^_{},.=", min_size=1).filter(str.strip)


def read(record: dict[str, Any], names: FieldNames = LOOKED_UP) -> Problem:
    return problem_from_record(record, default_id="default", source="test", names=names)


@pytest.mark.parametrize(
    ("record", "question", "answer"),
    [
        ({"problem": "p", "answer": "1"}, "p", "1"),
        ({"question": "q", "answer": 27.0}, "q", "27"),
        ({"question": "q", "answer": 0.25}, "q", "0.25"),
        ({"problem": "p", "question": "p", "answer": "1"}, "p", "1"),
        ({"question": "q", "answer": "Add.\n#### 1,234"}, "q", "1234"),
        ({"question": "q", "answer": "#### 12,34"}, "q", "12,34"),
        ({"problem": "p", "solution": r"So \boxed{1} or rather \boxed{\frac{1}{2}}."}, "p", r"\frac{1}{2}"),
        ({"problem": "p", "answer": "1", "solution": r"\boxed{2}"}, "p", "1"),
        ({"question": "q", "final_answer": [r"$\frac{1}{2}$"], "solution": ["So."]}, "q", r"\frac{1}{2}"),
        ({"question": "q", "final_answer": ["$2$", "3"]}, "q", "2, 3"),
        ({"question": "q", "final_answer": "7", "ground_truth": 7}, "q", "7"),
        ({"prompt": "q", "ground_truth": ["$7$"]}, "q", "7"),
        ({"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": 3}}, "q", "3"),
    ],
)
def test_the_layouts_of_real_data_sets_are_read(record, question, answer) -> None:
    problem = read(record)
    assert (problem.question, problem.answer) == (question, answer)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"answer": "1"}, "field 'problem' or 'question' or 'prompt' is missing, so there is no question"),
        ({"problem": "p"}, "there is no answer; fields seen: 'problem'"),
        ({"problem": "p", "answer": None}, "is missing, so there is no answer"),
        ({"problem": "p", "answer": " "}, "field 'answer' is empty"),
        ({"problem": "p", "answer": "####"}, "field 'answer' holds no answer"),
        ({"problem": "", "answer": "1"}, "field 'problem' is empty"),
        ({"question": 3, "answer": "1"}, "field 'question' must be text, but is a number"),
        ({"problem": ["p"], "answer": "1"}, "field 'problem' must be text, but is a list"),
        ({"problem": "p", "answer": [1]}, "field 'answer' must be text or a number, but is a list"),
        ({"problem": "p", "answer": True}, "field 'answer' must be text or a number, but is true or false"),
        ({"problem": "p", "answer": float("inf")}, "field 'answer' must be text or a number"),
        ({"problem": "p", "answer": "1", "id": {}}, "field 'id' must be text or a whole number, but is an object"),
        ({"problem": "p", "answer": "1", "level": []}, "field 'level' must be a number or text, but is a list"),
        ({"problem": "p", "answer": "1", "solution": {}}, "field 'solution' must be text, but is an object"),
        ({"problem": "\ud800", "answer": "1"}, "half a surrogate pair"),
        ({"problem": "p", "solution": "no box"}, "field 'solution' holds no \\boxed{...}"),
        ({"problem": "p", "question": "q", "answer": "1"}, "not clear which field is the question: 'problem' says 'p'"),
        ({"problem": "p", "answer": "5", "ground_truth": "7"}, "'answer' says '5', 'ground_truth' says '7'; keep one"),
        ({"problem": "p", "ground_truth": ["1", "2"]}, "field 'ground_truth' must hold one answer, but is a list of 2"),
        ({"problem": "p", "final_answer": []}, "field 'final_answer' must hold one answer, but is a list of 0"),
        ({"prompt": [], "answer": "1"}, "must be one message of the user"),
        (
            {"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "answer": "1"},
            "its messages are of 'user', 'assistant'",
        ),
        ({"prompt": [{"role": "user", "content": [{"text": "a"}]}], "answer": "1"}, "'prompt.content' must be text"),
    ],
)
def test_what_is_no_problem_or_not_clearly_one_is_refused_by_field(record, fault) -> None:
    with pytest.raises(ProblemFileError) as refusal:
        read(record)
    assert fault in str(refusal.value)


def test_named_fields_count_alone_and_may_lie_in_objects() -> None:
    record = {"problem": "p", "text": "t", "answer": "1", "meta": {"gold": ["$2$"]}, "a.b": "3"}
    assert read(record, FieldNames(question="text")).question == "t"
    assert read(record, FieldNames(answer="meta.gold")).answer == "2"
    assert read(record, FieldNames(answer="a.b")).answer == "3"
    with pytest.raises(ProblemFileError, match=r"field 'meta\.silver' is missing"):
        read(record, FieldNames(answer="meta.silver"))


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"level": 3}, 3),
        ({"level": "Level 4"}, 4),
        ({"level": "Level ?"}, None),
        ({"difficulty": 7.5}, 7),
        ({"difficulty": "2.5"}, 2),
        ({"difficulty": "Competition"}, None),
        ({"level": None, "difficulty": 1}, 1),
        ({}, None),
    ],
)
def test_levels_are_numbers_or_nothing(fields, level) -> None:
    assert read({"problem": "p", "answer": "1", **fields}).level == level


def test_ids_and_subjects_are_taken_where_the_source_has_them() -> None:
    row = {"problem": "p", "answer": "1"}
    assert read({**row, "unique_id": "test/1.json", "subfield": "Algebra", "subject": " "}).id == "test/1.json"
    assert read({**row, "id": 7}).id == "7"
    assert read(row).id == "default"
    assert read({**row, "subfield": "Algebra", "type": "OE"}).subject == "Algebra"
    assert read({**row, "subject": 3}).subject is None


@given(question=TEXT, answer=PLAIN, solution=TEXT | st.none())
def test_text_is_read_as_it_stands(question: str, answer: str, solution: str | None) -> None:
    problem = read({"problem": question, "answer": answer, "solution": solution})
    assert (problem.question, problem.answer, problem.solution) == (question, answer.strip(), solution)


@given(
    PLAIN.map(str.strip).map(lambda text: text.replace("{", "(").replace("}", ")")),
    st.sampled_from(["%s", "$%s$", "$$ %s $$"]),
    st.lists(st.sampled_from([r"\(%s\)", r"\[ %s \]", r"\boxed{%s}", " %s\n"]), unique=True),
)
def test_what_stands_around_a_whole_answer_is_taken_off(answer: str, dollars: str, wrappers: list[str]) -> None:
    text = dollars % answer
    for wrapper in wrappers:
        text = wrapper % text
    assert bare_answer(text) == answer


@pytest.mark.parametrize(
    "answer", ["$1$ and $2$", r"\(a\), \(b\)", r"\$5", r"$5\$", r"\boxed{1}, \boxed{2}", "5$", "$", r"\boxed{1", "$$"]
)
def test_what_does_not_stand_around_the_whole_is_left(answer: str) -> None:
    assert bare_answer(answer) == answer
