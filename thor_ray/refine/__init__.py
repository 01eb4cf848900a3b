"""TIRGen's refiner (critic): finds what a program can do in a step of reasoning, and writes that program.

The symbolic refiner is pure text to text. The one that asks a language model is handed whom to ask and where to run programs.
"""

from thor_ray.refine.claims import Claim, find_claims
from thor_ray.refine.language_model import LLMRefiner
from thor_ray.refine.operations import Operation, OperationKind
from thor_ray.refine.refinement import Draft, Passage, Refinement, Refiner, Surroundings, Verdict
from thor_ray.refine.refiner import SymbolicRefiner

__all__ = [
    "Claim",
    "Draft",
    "LLMRefiner",
    "Operation",
    "OperationKind",
    "Passage",
    "Refinement",
    "Refiner",
    "Surroundings",
    "SymbolicRefiner",
    "Verdict",
    "find_claims",
]
