"""From a solution to the pieces that a refiner sees one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from thor_ray.tirgen.generation.cuts import CutRules, LeftAlone, cut_fragments, token_texts
from thor_ray.tirgen.steps import split_steps


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a solution.

    Attributes:
        text: Word for word, its line's end included.
        left_alone: Why no refiner sees it; ``None`` if one does.
    """

    text: str
    left_alone: LeftAlone | None = None


Cut = Callable[[str], Sequence[Piece]]


def cut_lines(solution: str) -> list[Piece]:
    """A piece for each step of ``split_steps``, which are lines, each with its line's end."""
    return [Piece(f"{step}\n") for step in split_steps(solution)]


@dataclass(frozen=True, slots=True)
class FragmentCutter:
    """Cuts solutions into fragments and, for a refiner that reads by lines, these into lines.

    Attributes:
        encode: Token ids of a text alone, by the policy's tokenizer.
        decode: Text of token ids.
        rules: Where fragments end.
        by_lines: Whether a refiner sees line by line; blank lines are left out then. Else the pieces' concatenation is the
            solution.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    rules: CutRules
    by_lines: bool

    def __call__(self, solution: str) -> list[Piece]:
        fragments = cut_fragments(token_texts(self.encode(solution), self.decode), self.rules)
        if not self.by_lines:
            return [Piece(each.text, each.left_alone) for each in fragments]
        return [Piece(f"{line}\n", each.left_alone) for each in fragments for line in split_steps(each.text)]
