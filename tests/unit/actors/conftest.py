"""Two tokenizers: fences as single tokens (the tiny policy's), and one token per byte, where fences take many."""

from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import sandbox
from actors.codec import TokenizerCodec
from tests.support.playing import Player
from thor_ray.tiny.tokenizer import train_tokenizer

END = "<|endoftext|>"


def byte_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {symbol: index for index, symbol in enumerate([END, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False)


@pytest.fixture(scope="session")
def tokenizers_by_name() -> dict[str, PreTrainedTokenizerFast]:
    return {
        "bytes": byte_tokenizer(),
        "fences": train_tokenizer(["Let us compute. So the answer is 12.\nprint(3 + 4)"]),
    }


@pytest.fixture(params=["bytes", "fences"])
def tokenizer(request: pytest.FixtureRequest, tokenizers_by_name: dict[str, PreTrainedTokenizerFast]) -> object:
    return tokenizers_by_name[request.param]


@pytest.fixture
def codec(tokenizer: PreTrainedTokenizerFast) -> TokenizerCodec:
    return TokenizerCodec(tokenizer)


@pytest.fixture
def end_id(tokenizer: PreTrainedTokenizerFast) -> int:
    token: int = tokenizer.eos_token_id
    return token


@pytest.fixture(scope="session")
def box() -> Iterator[sandbox.Sandbox]:
    """A real sandbox, small and quick to start."""
    with sandbox.Sandbox(workers=1, preload=()) as opened:
        yield opened


@pytest.fixture
def player(codec: TokenizerCodec, end_id: int) -> Player:
    return Player(codec, end_id)
