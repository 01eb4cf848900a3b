"""Documents as padded batches of token ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from thor_ray.tiny.corpus import Document

_BATCHES_PER_POOL = 64


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """Token ids of a document with its end-of-text token.

    Attributes:
        ids: Token ids.
        given_length: How many of them, at the front, belong to ``Document.given``.
        copied_digits: Positions of the digits of ``Document.copied``.
    """

    ids: tuple[int, ...]
    given_length: int
    copied_digits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents of similar length, padded on the right.

    Causal attention never looks to the right, so a model needs no attention mask for it.

    Attributes:
        ids: ``[documents, length]``, int64, padding where a document has ended.
        weights: Same shape, float32: the weight of predicting this token; 0 on padding.
        copied_digits: Same shape, bool: digits that restate given ones.
        tokens: Tokens without padding.
    """

    ids: Tensor
    weights: Tensor
    copied_digits: Tensor
    tokens: int


def encode_documents(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> list[EncodedDocument]:
    """Encode each part of each document on its own and append the end-of-text token."""
    parts = [part for document in documents for part in (document.given, document.copied, document.rest)]
    encoded = tokenizer(parts, add_special_tokens=False)["input_ids"]
    digits = set(tokenizer.convert_tokens_to_ids(list("0123456789")))
    result = []
    for given, copied, rest in zip(encoded[::3], encoded[1::3], encoded[2::3], strict=True):
        copied_digits = (len(given) + offset for offset, token in enumerate(copied) if token in digits)
        result.append(
            EncodedDocument((*given, *copied, *rest, tokenizer.eos_token_id), len(given), tuple(copied_digits))
        )
    return result


def collate(documents: Sequence[EncodedDocument], padding: int, given_weight: float) -> Batch:
    """Pad documents on the right into one batch; tokens of the given part weigh ``given_weight``, others 1."""
    shape = len(documents), max(len(document.ids) for document in documents)
    ids = torch.full(shape, padding, dtype=torch.int64)
    weights = torch.zeros(shape)
    copied_digits = torch.zeros(shape, dtype=torch.bool)
    for row, document in enumerate(documents):
        length = len(document.ids)
        ids[row, :length] = torch.tensor(document.ids)
        weights[row, :length] = 1.0
        weights[row, : document.given_length] = given_weight
        copied_digits[row, list(document.copied_digits)] = True
    return Batch(ids, weights, copied_digits, sum(len(document.ids) for document in documents))


def batches(
    tokenizer: PreTrainedTokenizerFast,
    documents: Iterator[Document],
    *,
    batch_size: int,
    given_weight: float,
    seed: int,
) -> Iterator[Batch]:
    """Seeded batches of documents of similar length, so that little is spent on padding.

    The length of a batch tells nothing about when it comes: batches are shuffled within pools.
    """
    rng = Random(f"batches:{seed}")
    while pool := encode_documents(tokenizer, list(islice(documents, batch_size * _BATCHES_PER_POOL))):
        pool.sort(key=lambda document: len(document.ids))
        rows = [pool[start : start + batch_size] for start in range(0, len(pool), batch_size)]
        rng.shuffle(rows)
        for row in rows:
            yield collate(row, tokenizer.pad_token_id, given_weight)
