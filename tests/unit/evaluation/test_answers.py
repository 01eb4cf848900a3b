"""Votes see which answers are the same, in whatever order they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.evaluation.answers import answer_classes, graded_equal, same_text
from thor_ray.grading import GraderPool, grade_answer

answers = st.lists(st.one_of(st.none(), st.sampled_from(["1", "01", "2", "2.0", "x"])), max_size=8)


def as_numbers(first: str, second: str) -> bool:
    try:
        return float(first) == float(second)
    except ValueError:
        return first == second


@given(answers)
def test_classes_are_those_of_the_equivalence(texts):
    classes = answer_classes(texts, as_numbers)
    for text, name in zip(texts, classes, strict=True):
        assert (text is None) == (name is None)
        for other_text, other in zip(texts, classes, strict=True):
            if text is not None and other_text is not None:
                assert (name == other) == as_numbers(text, other_text)


@given(answers, st.randoms(use_true_random=False))
def test_the_partition_does_not_depend_on_the_order(texts, random):
    """Not even where equality is not transitive."""

    def near(first: str, second: str) -> bool:
        return abs(len(first) - len(second)) <= 1 and first != "x"

    shuffled = list(enumerate(texts))
    random.shuffle(shuffled)
    plain = answer_classes(texts, near)
    mixed = dict(
        zip([index for index, _ in shuffled], answer_classes([text for _, text in shuffled], near), strict=True)
    )
    for first in range(len(texts)):
        for second in range(len(texts)):
            assert (plain[first] == plain[second]) == (mixed[first] == mixed[second])


@given(answers)
def test_classes_are_numbered_by_first_appearance(texts):
    numbers = [name for name in answer_classes(texts, as_numbers) if name is not None]
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))


def test_each_pair_of_different_texts_is_asked_for_once():
    asked = []

    def never(first: str, second: str) -> bool:
        asked.append((first, second))
        return False

    answer_classes(["b", "a", "c", "a", None], never)
    assert asked == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_grader_knows_equal_answers_that_look_different():
    with GraderPool() as pool:
        equivalent = graded_equal(pool.grade_answer)
        texts = [r"\frac{1}{2}", "0.5", "1/2", "2", None, r"\sqrt{12}", r"2\sqrt{3}"]
        assert answer_classes(texts, equivalent) == [0, 0, 0, 1, None, 2, 2]


@pytest.mark.parametrize(("first", "second", "same"), [("a b", "ab", True), ("x ", "x", True), ("a", "b", False)])
def test_text_is_compared_up_to_white_space(first, second, same):
    assert same_text(first, second) is same
    # What the grader cannot read is the same where it is the same text.
    assert graded_equal(grade_answer)("no such thing!", "no such  thing!")
