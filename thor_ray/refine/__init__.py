"""TIRGen's refiner (critic): finds what a program can do in a step of reasoning, and writes that program.

Pure text to text: nothing here runs a program, evaluates an expression or knows the problem.
"""

from thor_ray.refine.claims import Claim, find_claims
from thor_ray.refine.operations import Operation, OperationKind
from thor_ray.refine.refinement import Draft, Passage, Refinement, Refiner, Surroundings, Verdict
from thor_ray.refine.refiner import SymbolicRefiner

__all__ = [
    "Claim",
    "Draft",
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
