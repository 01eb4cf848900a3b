"""Words are found where they stand, whatever characters they are made of."""

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thor_ray.dashboard.search import LONGEST_PATTERN, SEPARATOR, rows_with

LETTERS = "ab\\EQ.*[(^$ \n\t√é"


def found(texts: list[str], words: str) -> list[bool]:
    return list(rows_with(pa.array(texts, pa.string()), words))


@given(st.lists(st.text(LETTERS, max_size=8), max_size=8), st.text(LETTERS, min_size=1, max_size=4))
@example(["\\E", "\\", "E", "\\\\E"], "\\E")
@example(["\\Q\\E", "", "\\Q"], "\\Q\\E")
@example(["\\\\E", "\\E"], "\\\\E")
@example(["a\\", "a"], "a\\")
def test_rows_that_hold_the_words_are_found_and_no_others(texts, words):
    assert found(texts, words) == [words in text for text in texts]


@pytest.mark.parametrize("words", [f"a{SEPARATOR}b", "\ud800"])
def test_what_no_text_can_hold_is_found_nowhere(words):
    assert found([f"a{SEPARATOR}b", "a"], words) == [False, False]


@pytest.mark.parametrize("length", [LONGEST_PATTERN, LONGEST_PATTERN + 1, 1_000_000])
def test_long_words_are_searched_too(length):
    assert found(["x" * length, "x" * (length - 1), f"a{'x' * length}b"], "x" * length) == [True, False, True]
