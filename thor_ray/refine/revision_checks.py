"""Whether a revision still is the reasoning that it revises: similarity of words, numbers and names.

Pure text to text, no language model. The limits are options of the recipe (``tirgen.refiner.checks``).
"""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from thor_ray.refine.refinement import Verdict

_WORD: Final = re.compile(r"[A-Za-z]+")
_NUMBER: Final = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?!\d)|\d{1,400}(?:\.\d{1,400})?|\.\d{1,400}")
_NAME: Final = re.compile(r"(?<![\w\\])(?:[A-Z][a-z]+|[B-HJ-Zb-z])(?![\w'])")
_SENTENCE_START: Final = re.compile(r"(?:\A|[.!?:\n]|\*)[\s\"'(*]*\Z")
_TOOLS: Final = frozenset({"python", "sympy", "numpy", "scipy", "math"})

_SPELLED: Final = {
    word: Fraction(value)
    for value, words in enumerate(
        "zero|one once|two twice double pair couple both|three thrice triple|four quadruple|five|six|seven|eight|nine|ten|"
        "eleven|twelve dozen|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty".split("|")
    )
    for word in words.split()
} | {
    "half": Fraction(2), "third": Fraction(3), "quarter": Fraction(4), "thirty": Fraction(30), "forty": Fraction(40),
    "fifty": Fraction(50), "sixty": Fraction(60), "seventy": Fraction(70), "eighty": Fraction(80), "ninety": Fraction(90),
    "hundred": Fraction(100), "thousand": Fraction(1000), "million": Fraction(10**6),
}  # fmt: skip

FREE_IN_PROGRAMS: Final = frozenset(map(Fraction, (*range(11), 100, 1000)))
"""Numbers that say nothing: indices, exponents, percentages."""


@dataclass(frozen=True, slots=True)
class RevisionChecks:
    """The limits.

    Attributes:
        min_kept: Share of the revision's words that come from the step, in its order.
        min_covered: Share of the step's words that the revision keeps.
        max_new_numbers: Different numbers that neither the step nor any program's output has.
        max_new_names: Different names and variables in the prose that the step does not have.
    """

    min_kept: float = 0.6
    min_covered: float = 0.4
    max_new_numbers: int = 0
    max_new_names: int = 0

    def objection(
        self, step: str, prose: str, programs: Sequence[str], outputs: Sequence[str]
    ) -> tuple[Verdict, str] | None:
        """Why a revision is another reasoning, as a verdict and in words; ``None`` if it is the same.

        Args:
            step: What was revised.
            prose: All of the revision that is neither program nor output.
            programs: Its programs.
            outputs: What they printed.
        """
        kept, covered = similarity(step, prose)
        if kept < self.min_kept:
            return Verdict.REASONING_CHANGED, f"{kept:.0%} of the revision's words come from the step"
        if covered < self.min_covered:
            return Verdict.REASONING_CHANGED, f"{covered:.0%} of the step's words are left"
        numbers = new_numbers(step, prose, programs, outputs)
        if len(numbers) > self.max_new_numbers:
            return Verdict.NEW_NUMBERS, "not in the step: " + ", ".join(map(str, sorted(numbers)))
        names = new_names(step, prose)
        if len(names) > self.max_new_names:
            return Verdict.NEW_NAMES, "not in the step: " + ", ".join(sorted(names))
        return None


def similarity(step: str, prose: str) -> tuple[float, float]:
    """Shares of words in common, in order: of all in ``prose``, and of all in ``step``; 1 where there are none.

    By the longest common subsequence, so that what is moved counts once.
    """
    ours, theirs = (_WORD.findall(text.lower()) for text in (prose, step))
    common = common_length(ours, theirs)
    return (common / len(ours) if ours else 1.0, common / len(theirs) if theirs else 1.0)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits in long integers (Hyyrö 2004): 4,096 words take milliseconds."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()


def new_numbers(step: str, prose: str, programs: Iterable[str], outputs: Iterable[str]) -> set[Fraction]:
    """Numbers in prose and programs that come neither from the step, spelt out or in digits, nor from an output."""
    given = numbers_in(step) | {_SPELLED[word] for word in _WORD.findall(step.lower()) if word in _SPELLED}
    given |= {_SPELLED[word[:-1]] for word in _WORD.findall(step.lower()) if word[:-1] in _SPELLED}
    for output in outputs:
        given |= numbers_in(output)
    in_programs = {number for program in programs for number in numbers_in(program)}
    return (numbers_in(prose) | (in_programs - FREE_IN_PROGRAMS)) - given


def numbers_in(text: str) -> set[Fraction]:
    """Values of all numbers in digits, ``1,000`` and ``1000`` alike; signs are left to the reasoning."""
    return {Fraction(match.group().replace(",", "")) for match in _NUMBER.finditer(text)}


def new_names(step: str, prose: str) -> set[str]:
    """Capitalised words inside sentences, and variables of one letter, that the step does not have."""
    known = {word.lower() for word in _WORD.findall(step)} | _TOOLS
    return {
        match.group()
        for match in _NAME.finditer(prose)
        if match.group().lower() not in known
        and (len(match.group()) == 1 or not _SENTENCE_START.search(prose, 0, match.start()))
    }


def computes(program: str) -> bool:
    """Whether a program does anything but print what it was given; one that is no Python does not."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    working = (ast.BinOp, ast.Compare, ast.BoolOp, ast.For, ast.While, ast.If, ast.comprehension, ast.AugAssign)
    return any(
        isinstance(node, working) or (isinstance(node, ast.Call) and getattr(node.func, "id", "") != "print")
        for node in ast.walk(tree)
    )
