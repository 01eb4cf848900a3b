"""Where the programs that are checked come from: the benchmarks' own solutions, mutants of them, or a file.

A line of a file is an object with the problem's ``id`` (or ``task_id``) and one of ``response`` (all that a model wrote),
``solution`` (a whole program) and ``completion`` (what continues the task's own text), the latter two as in EvalPlus. The
same problem may come several times, once for each sample.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thor_ray.code_benchmarks.assembly import program_of
from thor_ray.code_benchmarks.mutation import Mutant, mutant_of
from thor_ray.code_benchmarks.problem import CodeProblem
from thor_ray.errors import UserError
from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.rows import read_text

_MOST_FAULTS_SHOWN: Final = 10
_IDS: Final = ("id", "task_id")
_TEXTS: Final = ("response", "solution", "completion")


@dataclass(frozen=True, slots=True)
class Solution:
    """One program to check.

    Attributes:
        problem: The problem that it is for.
        sample_index: Which of that problem's solutions, from 0.
        program: The program; ``None`` where a response holds none.
        mutant: How it was made, of mutants.
    """

    problem: CodeProblem
    sample_index: int
    program: str | None
    mutant: Mutant | None = None


def canonical_solutions(problems: Sequence[CodeProblem]) -> list[Solution]:
    """The benchmark's own solution of each problem.

    Raises:
        UserError: a problem has none.
    """
    return [Solution(problem, 0, _reference(problem)) for problem in problems]


def mutated_solutions(problems: Sequence[CodeProblem], seed: int) -> list[Solution]:
    """Each problem's own solution with one change; problems whose solution has no place for one are left out.

    Args:
        problems: Of which.
        seed: Draws the change.

    Raises:
        UserError: a problem has no solution.
    """
    mutants = ((problem, mutant_of(_reference(problem), f"{seed}/{problem.id}")) for problem in problems)
    return [Solution(problem, 0, mutant.program, mutant) for problem, mutant in mutants if mutant is not None]


def read_solutions(path: Path, problems: Sequence[CodeProblem]) -> list[Solution]:
    """All solutions of a file, or refuses the file.

    Args:
        path: The file.
        problems: Every solution must be for one of them.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or a line is no solution; all lines are checked, and the
            message lists the first faults as ``file:line: fault``.
    """
    by_id = {problem.id: problem for problem in problems}
    counts: Counter[str] = Counter()
    solutions: list[Solution] = []
    faults: list[str] = []
    for number, line in _lines(path):
        parsed = _parse(line, by_id)
        if isinstance(parsed, str):
            faults.append(f"{path}:{number}: {parsed}")
            continue
        problem, program = parsed
        solutions.append(Solution(problem, counts[problem.id], program))
        counts[problem.id] += 1
    if faults:
        more = len(faults) - _MOST_FAULTS_SHOWN
        shown = faults[:_MOST_FAULTS_SHOWN] + ([f"... and {more} more faulty lines"] if more > 0 else [])
        raise UserError("\n".join(shown), "a line is {'id': ..., 'response': ...}, or has 'solution' or 'completion'")
    if not solutions:
        raise UserError(f"{path}: holds no solutions")
    return solutions


def _reference(problem: CodeProblem) -> str:
    if problem.reference is None:
        raise UserError(
            f"{problem.id} has no solution of its own: {problem.source} comes without", "give a file with --solutions"
        )
    return problem.reference


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = read_text(path)
    except ProblemFileError as error:
        raise UserError(str(error), "name a file of solutions, or `canonical`, or `mutated`") from error
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _parse(line: str, problems: Mapping[str, CodeProblem]) -> tuple[CodeProblem, str | None] | str:
    """A line's problem and program, or what is wrong with the line."""
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(record, dict):
        return "not an object"
    identity = next((record[name] for name in _IDS if name in record), None)
    problem = problems.get(identity) if isinstance(identity, str) else None
    if problem is None:
        return f"there is no problem {identity!r}"
    given = [name for name in _TEXTS if name in record]
    if len(given) != 1 or not isinstance(record[given[0]], str):
        return "one of 'response', 'solution' and 'completion' must be there, as text"
    text: str = record[given[0]]
    match given[0]:
        case "response":
            return problem, program_of(problem, text)
        case "solution":
            return problem, text
    return problem, problem.opening + text
