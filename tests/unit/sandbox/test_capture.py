from hypothesis import given
from hypothesis import strategies as st

from sandbox.capture import HeadTailCapture

CHUNKS = st.lists(st.binary(max_size=40), max_size=30)


@given(CHUNKS, st.integers(1, 64), st.integers(1, 64))
def test_what_fits_is_kept_whole_and_what_does_not_keeps_both_ends(chunks, head, tail):
    capture = HeadTailCapture(head, tail)
    for chunk in chunks:
        capture.feed(chunk)
    data = b"".join(chunks)
    assert capture.total == len(data)
    assert capture.truncated == (len(data) > head + tail)
    if not capture.truncated:
        assert capture.text() == data.decode("utf-8", "replace")


@given(st.text(min_size=200, max_size=400), st.integers(1, 20), st.integers(8, 64), st.integers(8, 64))
def test_a_cut_never_splits_a_character(text, step, head, tail):
    data = text.encode()
    capture = HeadTailCapture(head, tail)
    for start in range(0, len(data), step):
        capture.feed(data[start : start + step])
    assert capture.truncated
    shown_head, note, shown_tail = _split(capture.text())
    assert text.startswith(shown_head)
    assert text.endswith(shown_tail)
    assert head - 3 <= len(shown_head.encode()) <= head
    assert tail - 3 <= len(shown_tail.encode()) <= tail
    assert note == len(data) - len(shown_head.encode()) - len(shown_tail.encode())


@given(CHUNKS)
def test_memory_stays_bounded(chunks):
    capture = HeadTailCapture(8, 8)
    for chunk in chunks:
        capture.feed(chunk)
        assert len(capture._head) <= 8
        assert len(capture._tail) <= 16 + len(chunk)


def _split(text: str) -> tuple[str, int, str]:
    head, _, rest = text.rpartition("\n... [")
    number, _, tail = rest.partition(" bytes left out] ...\n")
    return head, int(number), tail
