"""Searching one buffer of many texts finds what searching each of them would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.dashboard.search import FileTexts


@given(st.lists(st.text("ab", max_size=6), max_size=8), st.text("ab", min_size=1, max_size=3))
def test_hits_are_rows_that_hold_the_words_and_none_across_rows(texts, words):
    encoded = [text.encode() for text in texts]
    held = FileTexts(b"".join(encoded), np.cumsum([len(text) for text in encoded], dtype=np.int64))
    assert held.rows_with(words.encode()).tolist() == [number for number, text in enumerate(texts) if words in text]
