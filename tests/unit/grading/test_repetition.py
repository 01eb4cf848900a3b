"""The guard against responses that loop."""

import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.grading import has_degenerate_repetition

SENTENCE = "Wait, let me compute this again with more care now."  # 51 characters


def test_more_than_twenty_occurrences_of_fifty_characters_are_degenerate() -> None:
    separators = [f"<{index}>" for index in range(21)]
    assert not has_degenerate_repetition("".join(SENTENCE + separator for separator in separators[:20]))
    assert has_degenerate_repetition("".join(SENTENCE + separator for separator in separators))


def test_overlapping_occurrences_count() -> None:
    assert not has_degenerate_repetition("a" * (50 + 19))
    assert has_degenerate_repetition("a" * (50 + 20))


def test_shorter_repetitions_are_allowed() -> None:
    text = "".join(f"{SENTENCE[:40]}{index:09d}" for index in range(100))
    assert not has_degenerate_repetition(text)


@given(st.text(alphabet="ab", max_size=60), st.integers(1, 4), st.integers(1, 5))
def test_agrees_with_counting_all_substrings(text: str, window: int, limit: int) -> None:
    counts = Counter(text[start : start + window] for start in range(max(0, len(text) - window + 1)))
    expected = any(count > limit for count in counts.values())
    assert has_degenerate_repetition(text, window, limit) == expected


def test_is_linear_on_long_responses() -> None:
    alphabet = "abcdefghij "
    text = "".join(random.Random(0).choices(alphabet, k=300_000))
    started = time.perf_counter()
    assert not has_degenerate_repetition(text)
    assert time.perf_counter() - started < 60


@pytest.mark.parametrize(("window", "limit"), [(0, 20), (50, 0)])
def test_senseless_settings_are_refused(window: int, limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        has_degenerate_repetition("text", window, limit)
