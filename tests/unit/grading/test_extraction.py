"""Which part of a response counts as its answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.grading import extract_boxed
from thor_ray.grading.extraction import SEARCH_WINDOW


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{ 5 } and then \boxed{6}.", "6"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, \{2\}\}}", r"\{1, \{2\}\}"),
        (r"\boxed{x \in \left\{1\right\}}", r"x \in \left\{1\right\}"),
        (r"\boxed{\left\{1,2\right.} and more", r"\left\{1,2\right."),
        (r"\boxed {7}", "7"),
        (r"\boxed{3} but no, \boxed{4", "3"),
        (r"\boxed{a = \boxed{5}}", "5"),
        (r"\boxed{5} } }", "5"),
        (r"\\boxed{5}", "5"),
    ],
)
def test_takes_the_last_complete_box(response: str, answer: str) -> None:
    assert extract_boxed(response) == answer


@pytest.mark.parametrize(
    "response",
    ["", "the answer is 5", r"\boxed{}", r"\boxed{  }", r"\boxed 3", r"\fbox{3}", r"\boxed{3", r"boxed{3}", r"\boxed"],
)
def test_nothing_else_is_an_answer(response: str) -> None:
    assert extract_boxed(response) is None


def test_an_empty_last_box_hides_earlier_ones() -> None:
    assert extract_boxed(r"\boxed{5} or rather \boxed{}") is None


def test_code_and_tool_output_are_no_answers() -> None:
    block = "```python\nprint(r'\\boxed{1}')\n```\n```output\n\\boxed{2}\n```\n"
    assert extract_boxed(block) is None
    assert extract_boxed("\\boxed{3}\n" + block) == "3"
    assert extract_boxed(block + "so \\boxed{4}\n" + block) == "4"


def test_an_unfinished_block_is_no_answer() -> None:
    assert extract_boxed("\\boxed{3}\n```python\nprint('\\boxed{4}')") == "3"
    assert extract_boxed("\\boxed{3}\n```output\n\\boxed{4}") == "3"


def test_a_box_spanning_a_block_is_not_assembled_from_its_halves() -> None:
    assert extract_boxed("\\boxed{3\n```python\n} # \\boxed{4}\n```\n") is None


def test_prose_that_mentions_a_fence_is_prose() -> None:
    assert extract_boxed("I use a ```python``` block and get \\boxed{5}") == "5"


def test_only_text_after_the_thinking_section_counts() -> None:
    assert extract_boxed(r"<think> \boxed{1} </think> so \boxed{2}") == "2"
    assert extract_boxed(r"<think> \boxed{1} </think> so two") is None
    assert extract_boxed(r"<think> \boxed{1}") == "1"


def test_a_tool_cannot_end_the_thinking_section() -> None:
    response = "<think> a ```python\nprint(1)\n```\n```output\n</think> \\boxed{1}\n```\n </think> \\boxed{2}"
    assert extract_boxed(response) == "2"


def test_only_the_end_of_a_long_response_is_searched() -> None:
    assert extract_boxed(r"\boxed{1}" + " " * SEARCH_WINDOW) is None
    assert extract_boxed(r"\boxed{1}" + " " * (SEARCH_WINDOW - 9)) == "1"


@given(st.text(alphabet="{}\\boxed `python\n1", max_size=200))
def test_never_fails_and_never_returns_blank(response: str) -> None:
    answer = extract_boxed(response)
    assert answer is None or answer == answer.strip() != ""


@pytest.mark.parametrize("junk", ["\\boxed{", "}", "{", "```python\n", "\n```", "</think>", "\\"])
def test_junk_of_any_length_is_quick(junk: str) -> None:
    started = time.perf_counter()
    extract_boxed(junk * (400_000 // len(junk)))
    assert time.perf_counter() - started < 60
