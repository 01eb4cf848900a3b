"""What a problem family is, and the phrasing that all families share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from random import Random

LEVELS = (1, 2, 3)
"""Difficulty levels of every family; 1 is easiest."""

Operands = tuple[int, ...]
"""The integers that define an instance; what each one means is the family's own affair."""

FRAMES = (
    "What is {noun}?",
    "Find {noun}.",
    "Compute {noun}.",
    "Determine {noun}.",
    "Please calculate {noun}.",
)
"""Question frames; every noun phrase of every family fits into each of them."""


@dataclass(frozen=True, slots=True)
class Worked:
    """An instance worked out by hand.

    Attributes:
        lines: Of the solution between restatement and answer, in order: claims, computable statements in the family's
            notation that end in ``= result``, and sentences that lead up to them. The last claim's result is the answer.
        answer: The exact answer: an integer, or ``numerator/denominator`` in lowest terms.
    """

    lines: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of question, with everything needed to draw, phrase and work out its instances.

    Attributes:
        name: Name in ``generate``; also the tail of ``Problem.source``.
        draw: ``(rng, level) -> operands`` in the order in which the question states them.
        canonical: Maps operands to a key that is equal for equal problems (symmetric operands
            sorted). The level is not part of it, so an instance lies in the same split at each level.
        fields: Text for the placeholders in ``nouns`` and ``restatements``.
        nouns: Noun phrases that name the sought quantity.
        restatements: First lines of a solution: operands first, then the goal. The order matters:
            when the last words before an action are resampled, the choice of operation is among them.
        work: Exact computation, line by line.
    """

    name: str
    draw: Callable[[Random, int], Operands]
    canonical: Callable[[Operands], Operands]
    fields: Callable[[Operands], Mapping[str, str]]
    nouns: tuple[str, ...]
    restatements: tuple[str, ...]
    work: Callable[[Operands], Worked]


def is_heldout_phrasing(noun_index: int, frame_index: int) -> bool:
    """Whether a noun phrase in a frame belongs to the held-out phrasing.

    Each noun phrase misses exactly one frame in training and each frame is seen with other noun
    phrases, so held-out questions recombine familiar parts.
    """
    return (2 * noun_index + frame_index) % len(FRAMES) == len(FRAMES) - 1


def phrasings(family: Family, *, heldout: bool) -> list[tuple[str, str]]:
    """All ``(noun, frame)`` templates of a family on one side of the split."""
    return [
        (noun, frame)
        for noun_index, noun in enumerate(family.nouns)
        for frame_index, frame in enumerate(FRAMES)
        if is_heldout_phrasing(noun_index, frame_index) == heldout
    ]


def unchanged(operands: Operands) -> Operands:
    """Canonical key of a family whose operands are not interchangeable."""
    return operands


def sorted_operands(operands: Operands) -> Operands:
    """Canonical key of a family whose operands are interchangeable."""
    return tuple(sorted(operands))


def enumeration(numbers: Operands) -> str:
    """``(96, 60)`` as ``96 and 60``; ``(96, 60, 12)`` as ``96, 60 and 12``."""
    *leading, last = (str(number) for number in numbers)
    return f"{', '.join(leading)} and {last}" if leading else last


def exact(value: int | Fraction) -> str:
    """An exact value as text: ``7`` or ``-7/3``."""
    return str(Fraction(value))
