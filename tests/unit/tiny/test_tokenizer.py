"""The tokenizer reproduces any text, splits digits and knows the fences."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from thor_ray.dialogue import ACTION_CLOSE, ACTION_OPEN, OBSERVATION_CLOSE, OBSERVATION_OPEN
from thor_ray.tiny.pretrain import train_pretraining_tokenizer
from thor_ray.tiny.tokenizer import FENCES, VOCABULARY_SIZE


@cache
def tokenizer():
    return train_pretraining_tokenizer(seed=0)


def encode(text: str) -> list[int]:
    return list(tokenizer()(text, add_special_tokens=False)["input_ids"])


def pieces(text: str) -> list[str]:
    return [tokenizer().decode([token]) for token in encode(text)]


FRAGMENTS = st.sampled_from([*FENCES, "```", "`", "\n", " ", "12", " 7", "gcd(", "import math\n", "python", "output"])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert tokenizer().decode(encode(text)) == text


@given(st.lists(FRAGMENTS).map("".join))
def test_text_around_fences_survives_the_round_trip_also_without_specials(text: str) -> None:
    assert tokenizer().decode(encode(text), skip_special_tokens=True) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_token_holds_a_digit_and_anything_else(text: str) -> None:
    for piece in pieces(text):
        assert len(piece) == 1 or not any(character in "0123456789" for character in piece)


@pytest.mark.parametrize("fence", FENCES)
def test_a_fence_is_one_token_that_is_not_special(fence: str) -> None:
    (token,) = encode(fence)
    assert token not in tokenizer().all_special_ids
    assert tokenizer().convert_tokens_to_ids(fence) == token


@given(code=st.text(st.sampled_from("ab(1)\n ")), output=st.text(st.sampled_from("xy12 .")))
def test_spans_encoded_one_by_one_give_their_fences_as_single_tokens(code: str, output: str) -> None:
    action = encode(ACTION_OPEN + code + ACTION_CLOSE)
    observation = encode(OBSERVATION_OPEN + output + OBSERVATION_CLOSE)
    assert (action[:1], action[-1:]) == (encode(ACTION_OPEN), encode(ACTION_CLOSE))
    assert (observation[:1], observation[-1:]) == (encode(OBSERVATION_OPEN), encode(OBSERVATION_CLOSE))


def test_the_longest_fence_wins_at_one_place() -> None:
    assert pieces("\n```output\n12") == ["\n```output\n", "1", "2"]
    assert pieces("12\n```\n") == ["1", "2", "\n```\n"]
    assert pieces("12\n```") == ["1", "2", "\n```"]


def test_words_of_programs_and_solutions_are_cheap() -> None:
    assert pieces("print(math.gcd(96, 60))") == ["print(", "math.gcd(", "9", "6", ", ", "6", "0", "))"]
    assert len(encode("ModuleNotFoundError: No module named 'scipy'")) <= 9
    assert pieces(r"The answer is \boxed{12}.") == ["The", " answer", " is", r" \boxed{", "1", "2", "}."]


def test_training_is_repeatable_and_the_files_load_elsewhere(tmp_path: Path) -> None:
    assert train_pretraining_tokenizer(seed=0).get_vocab() == tokenizer().get_vocab()
    assert len(tokenizer()) == VOCABULARY_SIZE
    tokenizer().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "gcd(96, 60) = 12\n```output\n12\n```\nΣ 😀"
    assert loaded.is_fast
    assert loaded(text)["input_ids"] == encode(text)
    assert loaded.decode(encode(text)) == text
    assert (loaded.eos_token, loaded.pad_token) == ("<|endoftext|>", "<|pad|>")
