"""Benchmarks of programs: HumanEval+, MBPP+ and LiveCodeBench, tested in the sandbox.

Problems come from ``load_code_problems``; ``CodeJudge.judge`` makes verdicts of responses to them.
"""

from thor_ray.code_benchmarks.answer_key import AnswerKey, AnswerKeyError, make_answer_key
from thor_ray.code_benchmarks.checking import SANDBOX_LIMITS, check_program
from thor_ray.code_benchmarks.judging import CodeJudge
from thor_ray.code_benchmarks.loading import load_code_problems
from thor_ray.code_benchmarks.problem import CodeProblem
from thor_ray.code_benchmarks.verdict import CodeStatus, CodeVerdict

__all__ = [
    "SANDBOX_LIMITS",
    "AnswerKey",
    "AnswerKeyError",
    "CodeJudge",
    "CodeProblem",
    "CodeStatus",
    "CodeVerdict",
    "check_program",
    "load_code_problems",
    "make_answer_key",
]
