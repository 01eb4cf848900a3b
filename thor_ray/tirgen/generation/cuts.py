"""Cuts what a generator wrote into fragments of at most L_step tokens, at natural borders (spec B.1, B.2, B.4).

All of it works on the texts of tokens, whose concatenation is the text: a cut is a token index, so that a fragment's length
in tokens is exact, and nothing is lost or added by cutting.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

THINK_CLOSE: Final = "</think>"

_SENTENCE_ENDS: Final = (".", "!", "?", ";", ":")
_UNFINISHED_CHARACTER: Final = "\N{REPLACEMENT CHARACTER}"


class Border(StrEnum):
    """What lies behind a fragment, the most natural first."""

    END = "end"
    """Nothing: the text is over."""
    NEWLINE = "newline"
    SENTENCE = "sentence"
    FORCED = "forced"
    """A token like any other: there was no better place within the limit."""


class LeftAlone(StrEnum):
    """Why a fragment is not shown to a refiner."""

    SHORT = "short"
    """It has fewer tokens than the minimum."""
    AFTER_THINKING = "after_thinking"
    """The thinking part is closed, and what follows it is to be free of code."""


@dataclass(frozen=True, slots=True)
class CutRules:
    """Where to cut.

    Attributes:
        step_tokens: L_step, tokens of a fragment at the most.
        min_tokens: Shorter fragments are left alone.
        thinking: The text begins inside a thinking part, and only that is refined.
    """

    step_tokens: int = 512
    min_tokens: int = 1
    thinking: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_tokens <= self.step_tokens:
            raise ValueError(
                f"min_tokens is {self.min_tokens}, must lie between 1 and step_tokens, which is {self.step_tokens}"
            )


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a text.

    Attributes:
        text: Word for word.
        tokens: How many it has.
        border: What lies behind it.
        left_alone: Why no refiner sees it; ``None`` if one does.
    """

    text: str
    tokens: int
    border: Border
    left_alone: LeftAlone | None = None


def cut_fragments(tokens: Sequence[str], rules: CutRules) -> list[Fragment]:
    """Cuts a text into fragments, whose concatenation it is.

    None is empty or longer than ``rules.step_tokens``. The end of the thinking part is a border like the text's own end.

    Args:
        tokens: The text of each token. Those that end inside a character are empty, and the last of the character has it
            (``token_texts``); no fragment ends behind an empty one unless there is no other place.
        rules: Where to cut.
    """
    closed = _end_of_thinking(tokens) if rules.thinking else len(tokens)
    return [*_cut(tokens[:closed], rules, None), *_cut(tokens[closed:], rules, LeftAlone.AFTER_THINKING)]


def cut_index(tokens: Sequence[str], step_tokens: int, min_tokens: int = 1) -> tuple[int, Border]:
    """How many tokens the first fragment takes, and what lies behind it.

    The most natural border is taken that leaves the fragment ``min_tokens``; of several, the last.

    Args:
        tokens: The text of each token, at least one.
        step_tokens: As many at the most.
        min_tokens: As many at the least, if there is any border there.
    """
    if len(tokens) <= step_tokens:
        return len(tokens), Border.END
    candidates = range(step_tokens, min_tokens - 1, -1)
    for border, fits in ((Border.NEWLINE, _ends_line), (Border.SENTENCE, _ends_sentence)):
        for end in candidates:
            if fits(tokens, end):
                return end, border
    whole = (end for end in range(step_tokens, 0, -1) if tokens[end - 1])
    return next(whole, step_tokens), Border.FORCED


def token_texts(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """The text of each token, such that their concatenation is the text of all.

    A token that ends inside a character has the empty text; the character is its last token's. Each token is decoded
    behind the one before it, since some tokenizers write a token differently at the beginning of a text.

    Args:
        ids: Token ids.
        decode: Text of token ids.
    """
    texts: list[str] = []
    anchor = shown = 0
    for end in range(1, len(ids) + 1):
        before, after = decode(ids[anchor:shown]), decode(ids[anchor:end])
        if after.endswith(_UNFINISHED_CHARACTER) and end < len(ids):
            texts.append("")
            continue
        texts.append(after[len(before) :])
        anchor, shown = shown, end
    return texts


def _cut(tokens: Sequence[str], rules: CutRules, left_alone: LeftAlone | None) -> Iterator[Fragment]:
    start = 0
    while start < len(tokens):
        length, border = cut_index(tokens[start : start + rules.step_tokens + 1], rules.step_tokens, rules.min_tokens)
        why = left_alone or (LeftAlone.SHORT if length < rules.min_tokens else None)
        yield Fragment("".join(tokens[start : start + length]), length, border, why)
        start += length


def _ends_line(tokens: Sequence[str], end: int) -> bool:
    return "\n" in tokens[end - 1]


def _ends_sentence(tokens: Sequence[str], end: int) -> bool:
    """Whether a stop stands before a space; so no number is cut at its point."""
    return tokens[end - 1].rstrip(" ").endswith(_SENTENCE_ENDS) and (
        tokens[end - 1].endswith(" ") or tokens[end].startswith(" ")
    )


def _end_of_thinking(tokens: Sequence[str]) -> int:
    """Index of the first token behind the thinking part, whose closing tag belongs to it; all of them if it is not closed."""
    text = ""
    for index, token in enumerate(tokens):
        text = text[-len(THINK_CLOSE) :] + token
        if THINK_CLOSE in text:
            return index + 1
    return len(tokens)
