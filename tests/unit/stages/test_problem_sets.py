"""Problems are read whole before a run starts, fit its context, and are asked evenly."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.config import Recipe, validate_recipe
from thor_ray.dialogue import render_prompt
from thor_ray.errors import UserError
from thor_ray.problems import Problem, ProblemFileError
from thor_ray.stages.problem_sets import MIN_RESPONSE_TOKENS, problem_batches, problem_sets, shares


def encode_prompt(template: str, question: str) -> list[int]:
    return list(render_prompt(template, question).encode())


def recipe_for(train: Path | None = None, heldout: Path | None = None, context: int = 512) -> Recipe:
    def source(path: Path | None) -> dict[str, object]:
        return {"count": 8} if path is None else {"count": 8, "file": str(path)}

    sampling = {"max_new_tokens": 48}
    return validate_recipe(
        {
            "policy": {"max_context": context},
            "problems": {"train": source(train), "heldout": source(heldout)},
            "rl": {"sampling": sampling},
            "evaluation": {"sampling": sampling},
        },
        "test",
    )


def write(path: Path, questions: list[str]) -> Path:
    path.write_text("".join(json.dumps({"problem": question, "answer": "1"}) + "\n" for question in questions))
    return path


def test_generated_sets_are_disjoint_and_of_the_size_asked_for():
    sets = problem_sets(recipe_for(), encode_prompt)
    assert (len(sets.train), len(sets.heldout), sets.too_long) == (8, 8, 0)
    assert not {problem.question for problem in sets.train} & {problem.question for problem in sets.heldout}


def test_problems_that_leave_no_room_for_an_answer_are_left_out_and_counted(tmp_path):
    room = 96 - MIN_RESPONSE_TOKENS - 1  # the template's newline
    train = write(tmp_path / "train.jsonl", ["short", "x" * room, "x" * (room + 1)])
    sets = problem_sets(recipe_for(train, context=96), encode_prompt)
    assert [len(problem.question) for problem in sets.train] == [5, room]
    assert sets.too_long >= 1


def test_a_set_without_a_single_fitting_problem_is_refused(tmp_path):
    train = write(tmp_path / "train.jsonl", ["x" * 500])
    with pytest.raises(UserError, match=r"none of 1 problems .* policy.max_context 96"):
        problem_sets(recipe_for(train, context=96), encode_prompt)


def test_held_out_problems_that_are_trained_on_are_refused(tmp_path):
    train = write(tmp_path / "train.jsonl", ["one", "two"])
    heldout = write(tmp_path / "heldout.jsonl", ["three", "two"])
    with pytest.raises(UserError, match=r"1 held-out problems .* heldout-2"):
        problem_sets(recipe_for(train, heldout), encode_prompt)


def test_a_line_that_is_no_problem_is_refused_by_file_and_line(tmp_path):
    train = write(tmp_path / "train.jsonl", ["one"])
    train.write_text(train.read_text() + '{"problem": "two"}\n')
    with pytest.raises(ProblemFileError, match=r"train\.jsonl:2: .*answer"):
        problem_sets(recipe_for(train), encode_prompt)


def decontaminated(train: Path, tests: list[Path], count: int = 8) -> Recipe:
    problems = {
        "train": {"file": str(train), "count": count},
        "heldout": {"count": 2},
        "decontamination": {"against": [str(path) for path in tests]},
    }
    return validate_recipe({"problems": problems}, "test")


def test_training_problems_that_are_test_problems_are_left_out_before_they_are_counted(tmp_path):
    train = write(tmp_path / "train.jsonl", ["one plus $x$", "What is $2+2$?", "three", "four"])
    tests = [write(tmp_path / "a.jsonl", ["what is $ 2 + 2 $"]), write(tmp_path / "b.jsonl", ["Four.", "five"])]
    sets = problem_sets(decontaminated(train, tests, count=2), encode_prompt)
    assert [problem.question for problem in sets.train] == ["one plus $x$", "three"]
    assert sets.contaminated == 2
    assert problem_sets(decontaminated(train, []), encode_prompt).contaminated == 0


def test_a_training_set_that_is_a_test_set_and_a_test_set_that_is_not_there_are_refused(tmp_path):
    train = write(tmp_path / "train.jsonl", ["one"])
    with pytest.raises(UserError, match=r"all 1 problems are in .*train\.jsonl"):
        problem_sets(decontaminated(train, [train]), encode_prompt)
    with pytest.raises(ProblemFileError, match=r"none\.jsonl: no such problem file"):
        problem_sets(decontaminated(train, [tmp_path / "none.jsonl"]), encode_prompt)


def test_a_file_may_name_its_fields(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"text": "1 + 1?", "gold": {"value": 2}}))
    train = {"file": str(path), "question_field": "text", "answer_field": "gold.value"}
    recipe = validate_recipe({"problems": {"train": train, "heldout": {"count": 2}}}, "test")
    (problem,) = problem_sets(recipe, encode_prompt).train
    assert (problem.question, problem.answer) == ("1 + 1?", "2")


def test_families_come_in_proportion_to_their_weights():
    source = {"families": {"gcd": 3, "lcm": 1}, "count": 12}
    problems = problem_sets(validate_recipe({"problems": {"train": source}}, "test"), encode_prompt).train
    assert Counter(problem.source for problem in problems) == {"families/gcd": 9, "families/lcm": 3}


@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=6), st.integers(0, 200))
def test_shares_add_up_and_are_within_one_of_exact(weights, count):
    parts = shares(weights, count)
    assert sum(parts.values()) == count
    total = sum(weights.values())
    assert all(abs(parts[name] - count * weight / total) < 1 + 1e-9 for name, weight in weights.items())


def test_more_instances_than_exist_are_refused():
    recipe = validate_recipe({"problems": {"train": {"families": ["nth_prime"], "levels": [1], "count": 1000}}}, "test")
    with pytest.raises(UserError, match=r"problems\.train: asked for 1000"):
        problem_sets(recipe, encode_prompt)


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 12), st.integers(0, 3))
def test_every_problem_is_asked_once_before_any_is_asked_again(count, size, rounds, seed):
    problems = [Problem(str(index), f"q{index}", "1", "test") for index in range(count)]
    batches = list(problem_batches(problems, size, rounds, seed))
    assert [len(batch) for batch in batches] == [size] * rounds
    asked = Counter(problem.id for batch in batches for problem in batch)
    assert max(asked.values()) - min(asked.get(problem.id, 0) for problem in problems) <= 1
    assert batches == list(problem_batches(problems, size, rounds, seed))
