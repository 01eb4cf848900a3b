"""What writes solutions for TIRGen, and where these are cut into steps.

Here are the interface of generators and all that is pure; those that ask an engine lie where engines may be reached.
"""

from thor_ray.tirgen.generation.cuts import (
    THINK_CLOSE,
    Border,
    CutRules,
    Fragment,
    LeftAlone,
    cut_fragments,
    cut_index,
    token_texts,
)
from thor_ray.tirgen.generation.cutter import Cut, FragmentCutter, Piece, cut_lines
from thor_ray.tirgen.generation.generator import Generator, Prompt

__all__ = [
    "THINK_CLOSE",
    "Border",
    "Cut",
    "CutRules",
    "Fragment",
    "FragmentCutter",
    "Generator",
    "LeftAlone",
    "Piece",
    "Prompt",
    "cut_fragments",
    "cut_index",
    "cut_lines",
    "token_texts",
]
