"""Replies of a language model: a revision is read word for word, and everything else has a name."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.refine import Verdict
from thor_ray.refine.reply import Revision, Segment, UnusableReplyError, read_reply

PROSE = st.text(st.characters(exclude_characters="`<", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
CODE = PROSE.filter(lambda text: text.strip())


@given(st.lists(st.tuples(PROSE, CODE, st.none() | PROSE), max_size=4), PROSE)
def test_what_was_written_is_read_back(parts, tail):
    body = ""
    for prose, code, predicted in parts:
        body += f"{prose}\n```python\n{code}\n```\n"
        if predicted is not None:
            body += f"```output\n{predicted}\n```\n"
    revision = read_reply(f"Well.\n<revision>\n{body}{tail}</revision> Bye.", finished=True)
    assert [segment.code for segment in revision.segments] == [code for _, code, _ in parts]
    assert [segment.prose.strip() for segment in revision.segments] == [prose.strip() for prose, _, _ in parts]
    assert [segment.predicted for segment in revision.segments] == [
        None if predicted is None else predicted.strip() for _, _, predicted in parts
    ]
    assert revision.tail == tail or not parts


@pytest.mark.parametrize("text", ["KEEP", " KEEP.\n", "**KEEP**", "<think>Hm, 2 + 2?</think>\nKEEP"])
def test_a_word_keeps_the_step(text):
    assert read_reply(text, finished=True) == Revision((), "")


@pytest.mark.parametrize(
    ("text", "finished", "verdict", "reason"),
    [
        ("I think that", False, Verdict.ENDLESS, "tokens"),
        ("<revision>\n1 1 1 1 1", False, Verdict.ENDLESS, "tokens"),
        ("The sum is 4.", True, Verdict.MALFORMED, "neither KEEP nor"),
        ("", True, Verdict.MALFORMED, "neither KEEP nor"),
        ("<revision>\nThe sum.", True, Verdict.MALFORMED, "no </revision>"),
        ("<revision>\n```python\nprint(1)\n</revision>", True, Verdict.MALFORMED, "not closed"),
        ("<revision>\n```python\n```\n</revision>", True, Verdict.MALFORMED, "empty program"),
        ("<revision>\n```output\n4\n```\n</revision>", True, Verdict.MALFORMED, "without a program"),
        ("<revision>\n```json\n{}\n```\n</revision>", True, Verdict.MALFORMED, "another kind: json"),
        ("<revision>\n```\n1\n```\n</revision>", True, Verdict.MALFORMED, "without a name"),
        ("<revision>\n```python\n1\n```python\n</revision>", True, Verdict.MALFORMED, "inside a block"),
        ("<revision>\nsee ```x``` there\n</revision>", True, Verdict.MALFORMED, "in the midst of a line"),
    ],
)
def test_what_is_no_revision_has_a_name(text, finished, verdict, reason):
    with pytest.raises(UnusableReplyError, match=reason) as caught:
        read_reply(text, finished=finished)
    assert caught.value.verdict is verdict


@given(
    st.lists(
        st.sampled_from([*"`\n a<", "```", "```python\n", "```output\n", "\n```\n", "<revision>", "</revision>"]),
        max_size=20,
    ).map("".join)
)
def test_any_text_is_a_revision_or_has_a_name(text):
    with contextlib.suppress(UnusableReplyError):
        revision = read_reply(text, finished=True)
        assert all(segment.code.strip() for segment in revision.segments)
        assert "```" not in revision.tail


def test_a_reply_that_goes_on_needs_no_opening_tag():
    reply = "so it is 5.\n</revision>"
    assert read_reply(reply, finished=True, goes_on=True) == Revision((), "so it is 5.\n")
    assert read_reply(f"<revision>\n{reply}", finished=True, goes_on=True) == Revision((), "so it is 5.\n")


def test_only_the_block_directly_behind_a_program_is_its_output():
    text = "<revision>\na\n```python\nf()\n```\n\n```output\n5\n```\nb</revision>"
    assert read_reply(text, finished=True) == Revision((Segment("a\n", "f()", "5"),), "b")
    with pytest.raises(UnusableReplyError, match="output without a program"):
        read_reply(text.replace("```\n\n```output", "```\nso\n```output"), finished=True)
