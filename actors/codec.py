"""Between text and token ids, for the few places where text enters or leaves a trajectory."""

import copy
from collections.abc import Sequence
from typing import Protocol

from transformers import PreTrainedTokenizerFast


class Codec(Protocol):
    """What a trajectory needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` alone: nothing is added, and no text can produce a special token."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``, special tokens left out."""


class TokenizerCodec:
    """A Hugging Face tokenizer as a `Codec`.

    Special tokens are never read out of text: a program that prints the policy's end-of-sequence marker, or a problem
    that quotes it, must not be able to end a turn. Fences may still be single tokens, since those are ordinary ones.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        # A copy, because the switch below would change what the tokenizer's other users see.
        self._backend = copy.deepcopy(tokenizer.backend_tokenizer)
        self._backend.encode_special_tokens = True
        self._end_of_sequence: int | None = tokenizer.eos_token_id

    @property
    def end_of_sequence(self) -> int:
        """The token that ends the policy's turn.

        Raises:
            ValueError: the tokenizer has none.
        """
        if self._end_of_sequence is None:
            raise ValueError("the tokenizer has no end-of-sequence token, so a turn could never end")
        return self._end_of_sequence

    @classmethod
    def from_directory(cls, path: str) -> "TokenizerCodec":
        """The codec of the model in a Hugging Face directory."""
        return cls(PreTrainedTokenizerFast.from_pretrained(path))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text
