"""Sequences are shared only by ranks to which the attention heads can be dealt."""

import pytest
from transformers import Qwen3Config

from learners.ulysses import HeadCountError, refuse_heads


def heads(queries: int, keys: int) -> Qwen3Config:
    return Qwen3Config(num_attention_heads=queries, num_key_value_heads=keys)


@pytest.mark.parametrize(
    ("queries", "keys", "ranks"), [(4, 2, 2), (4, 2, 4), (4, 1, 2), (12, 6, 3), (12, 2, 6), (7, 7, 1)]
)
def test_heads_that_every_rank_gets_equally_many_of_pass(queries, keys, ranks):
    refuse_heads(heads(queries, keys), ranks)


@pytest.mark.parametrize(
    ("queries", "keys", "ranks", "possible"),
    [(4, 2, 3, "1, 2, 4"), (14, 2, 4, "1, 2, 14"), (12, 4, 3, "1, 2, 4, 12"), (4, 2, 8, "1, 2, 4")],
)
def test_other_numbers_of_heads_are_refused_with_the_remedy(queries, keys, ranks, possible):
    with pytest.raises(
        HeadCountError, match=f"sequence_parallel is {ranks}, .* {queries} attention heads over {keys} key-value"
    ) as refusal:
        refuse_heads(heads(queries, keys), ranks)
    assert refusal.value.remedy == f"choose one of {possible}"
