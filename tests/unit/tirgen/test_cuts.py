"""Fragments: nothing is lost, none is longer than a step, and they end where a text naturally ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from thor_ray.tirgen.generation import (
    Border,
    CutRules,
    FragmentCutter,
    LeftAlone,
    cut_fragments,
    cut_index,
    cut_lines,
    token_texts,
)

TOKENS = st.lists(
    st.sampled_from(["a", " b", "12", ". ", ".", "\n", ".\n\n", "", "é", "</think>", "</", "think>"]), max_size=30
)
RULES = st.integers(1, 12).flatmap(lambda step: st.builds(CutRules, st.just(step), st.integers(1, step), st.booleans()))


@given(TOKENS, RULES)
def test_fragments_are_the_text_and_none_is_longer_than_a_step(tokens, rules):
    fragments = cut_fragments(tokens, rules)
    assert "".join(each.text for each in fragments) == "".join(tokens)
    assert sum(each.tokens for each in fragments) == len(tokens)
    assert all(1 <= each.tokens <= rules.step_tokens for each in fragments)


@given(TOKENS, RULES)
def test_a_fragment_ends_at_the_most_natural_border_there_is(tokens, rules):
    start = 0
    for fragment in cut_fragments(tokens, rules):
        end = start + fragment.tokens
        within = tokens[start + rules.min_tokens - 1 : start + rules.step_tokens]
        if fragment.border is Border.NEWLINE:
            assert "\n" in tokens[end - 1]
            assert not any("\n" in token for token in tokens[end : start + rules.step_tokens])
        elif fragment.border in (Border.SENTENCE, Border.FORCED) and not rules.thinking:
            assert not any("\n" in token for token in within)
        if fragment.border is Border.FORCED and any(tokens[start:end]):
            assert tokens[end - 1], "no character is cut in two"
        start = end


@given(TOKENS, RULES)
def test_what_is_too_short_or_behind_the_thinking_part_is_left_alone_and_nothing_else(tokens, rules):
    before = ""
    for fragment in cut_fragments(tokens, rules):
        if rules.thinking and "</think>" in before:
            assert fragment.left_alone is LeftAlone.AFTER_THINKING
        else:
            assert fragment.left_alone is (LeftAlone.SHORT if fragment.tokens < rules.min_tokens else None)
        before += fragment.text


def test_a_step_is_snapped_to_the_last_newline_by_token_index():
    tokens = ["one", " two", ".\n", "three", "\n", "four", " five"]
    assert cut_index(tokens, 6) == (5, Border.NEWLINE)
    assert cut_index(tokens, 4) == (3, Border.NEWLINE)
    assert cut_index(tokens, 7) == (7, Border.END)
    assert cut_index(tokens, 2) == (2, Border.FORCED)


def test_a_newline_that_would_leave_too_little_gives_way_to_a_sentence():
    tokens = ["a", "\n", "b", ".", " c", ".", "5", " d"]
    assert cut_index(tokens, 7, min_tokens=3) == (4, Border.SENTENCE)
    assert cut_index(tokens, 7, min_tokens=2) == (2, Border.NEWLINE)


def test_no_number_is_cut_at_its_point():
    assert cut_index(["x", "3", ".", "14", "y"], 3) == (3, Border.FORCED)


def test_a_minimum_above_the_step_is_refused():
    with pytest.raises(ValueError, match="min_tokens is 9, must lie between 1 and step_tokens, which is 8"):
        CutRules(8, 9)


@pytest.fixture(scope="module")
def byte_tokenizer():
    """Every byte is a token, so that characters span several."""
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@given(text=st.text(max_size=40), step=st.integers(4, 12))
def test_characters_of_several_tokens_stay_whole(byte_tokenizer, text, step):
    def decode(ids):
        return byte_tokenizer.decode(list(ids))

    ids = byte_tokenizer.encode(text).ids
    texts = token_texts(ids, decode)
    assert len(texts) == len(ids)
    assert "".join(texts) == text
    cut = FragmentCutter(lambda part: byte_tokenizer.encode(part).ids, decode, CutRules(step), by_lines=False)
    pieces = cut(text)
    assert "".join(piece.text for piece in pieces) == text
    assert all(len(byte_tokenizer.encode(piece.text).ids) <= step for piece in pieces)


def test_a_refiner_that_reads_lines_sees_the_lines_of_each_fragment(byte_tokenizer):
    cut = FragmentCutter(
        lambda part: byte_tokenizer.encode(part).ids,
        lambda ids: byte_tokenizer.decode(list(ids)),
        CutRules(14, thinking=True),
        by_lines=True,
    )
    pieces = cut("one\n\ntwo\nthree</think>\nfour")
    assert [(piece.text, piece.left_alone) for piece in pieces] == [
        ("one\n", None),
        ("two\n", None),
        ("three</think>\n", None),
        ("four\n", LeftAlone.AFTER_THINKING),
    ]


def test_without_tokens_a_piece_is_a_line():
    assert [piece.text for piece in cut_lines("one\n\n \\[x\n= 2\\] \n")] == ["one\n", "\\[x\n= 2\\]\n"]
