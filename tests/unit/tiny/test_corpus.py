"""What the base reads: plain text whose copied numbers were given before."""

import re
from functools import cache
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thor_ray.problems import LEVELS, Problem, generate
from thor_ray.tiny.batches import batches, collate, encode_documents
from thor_ray.tiny.corpus import CORPUS_FAMILIES, Document, documents, solution_document
from thor_ray.tiny.pretrain import train_pretraining_tokenizer

SEEDS = st.integers(0, 2**32)


@cache
def tokenizer():
    return train_pretraining_tokenizer(seed=0)


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_copied_numbers_stand_in_the_given_text(seed: int) -> None:
    for document in islice(documents(seed, chunk_size=300), 300):
        assert set(re.findall(r"\d+", document.copied)) <= set(re.findall(r"\d+", document.given))


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_no_document_shows_a_program_or_a_fence(seed: int) -> None:
    text = "".join(document.given + document.copied + document.rest for document in islice(documents(seed, 300), 300))
    assert not re.search(r"`|import|print|def |output|Traceback", text)


def test_no_heldout_question_is_read() -> None:
    heldout = {problem.question for problem in generate(list(CORPUS_FAMILIES), LEVELS, 600, 0, "heldout")}
    assert not [document for document in islice(documents(0), 4096) if document.given.split("\n")[0] in heldout]


def test_the_stream_is_seeded_and_goes_on_past_a_chunk() -> None:
    first = list(islice(documents(3, chunk_size=100), 250))
    assert first == list(islice(documents(3, chunk_size=100), 250))
    assert first != list(islice(documents(4, chunk_size=100), 250))
    assert first[:100] != first[100:200]


def test_a_problem_without_solution_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="problem p has no worked solution"):
        solution_document(Problem("p", "1 + 1?", "2", "sums"))


def test_a_batch_pads_weighs_and_marks_its_tokens() -> None:
    encoded = encode_documents(tokenizer(), [Document("12 and 7\n", "7 and 12", " = 3"), Document("", "", "5")])
    batch = collate(encoded, padding=tokenizer().pad_token_id, given_weight=0.25)
    assert [tokenizer().decode([token]) for token in batch.ids[0]] == [
        *["1", "2", " and ", "7", "\n"],
        *["7", " and ", "1", "2"],
        *[" = ", "3", "<|endoftext|>"],
    ]
    assert batch.weights[0].tolist() == [0.25] * 5 + [1.0] * 7
    assert batch.copied_digits[0].nonzero().flatten().tolist() == [5, 7, 8]
    assert tokenizer().decode(batch.ids[1][:2]) == "5<|endoftext|>"
    assert set(batch.ids[1][2:].tolist()) == {tokenizer().pad_token_id}
    assert batch.weights[1].tolist() == [1.0] * 2 + [0.0] * 10
    assert batch.tokens == 14


def test_batches_hold_every_document_once_and_little_padding() -> None:
    stream = batches(tokenizer(), documents(0), batch_size=8, given_weight=0.1, seed=0)
    rows = [tuple(row[row != tokenizer().pad_token_id].tolist()) for batch in islice(stream, 64) for row in batch.ids]
    expected = encode_documents(tokenizer(), list(islice(documents(0), 8 * 64)))
    assert sorted(rows) == sorted(document.ids for document in expected)
    again = list(islice(batches(tokenizer(), documents(0), batch_size=8, given_weight=0.1, seed=0), 64))
    assert sum(batch.tokens for batch in again) > 0.9 * sum(batch.ids.numel() for batch in again)
    assert torch.equal(
        again[0].ids, next(batches(tokenizer(), documents(0), batch_size=8, given_weight=0.1, seed=0)).ids
    )
