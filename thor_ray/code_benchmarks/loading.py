"""Programming tasks from files: benchmarks by name, and files of the same shape by path."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from thor_ray.code_benchmarks import evalplus, livecodebench
from thor_ray.code_benchmarks.problem import CodeProblem
from thor_ray.problems.benchmarks import BenchmarkKind, find_file, missing_file, require_size
from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.registry import benchmark_named
from thor_ray.problems.rows import read_text

_MOST_FAULTS_SHOWN: Final = 10


def load_code_problems(source: str | Path, data_dir: Path | None = None) -> list[CodeProblem]:
    """Reads all problems of a source, or refuses it.

    Args:
        source: A code benchmark's name, or the path of a JSON Lines file (``.gz`` compressed or not) of EvalPlus's or
            LiveCodeBench's shape. A ``Path`` is always one.
        data_dir: Where benchmark files lie; ``None`` asks the environment variable ``THOR_DATA``.

    Raises:
        ProblemFileError: the file is missing or cannot be read, a benchmark has the wrong size or is none of programs, or
            a row is no problem; every row is checked, and the message lists the first faults as ``file:row: fault``.
    """
    benchmark = benchmark_named(source) if isinstance(source, str) else None
    if benchmark is None:
        return read_code_problems(Path(source), Path(source).name.partition(".")[0])
    if benchmark.kind is not BenchmarkKind.CODE:
        raise ProblemFileError(f"{benchmark.name} is a benchmark of answers: it has no programs to test")
    path = find_file(benchmark, data_dir)
    if path is None:
        raise missing_file(benchmark, data_dir)
    problems = read_code_problems(path, benchmark.name)
    require_size(benchmark, len(problems), str(path))
    return problems


def read_code_problems(path: Path, source: str) -> list[CodeProblem]:
    """All problems of a file.

    Args:
        path: The file.
        source: What to call it.

    Raises:
        ProblemFileError: see ``load_code_problems``.
    """
    problems: dict[str, CodeProblem] = {}
    faults: list[str] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            problem = _parse(_record(line), source)
            if problem.id in problems:
                raise ProblemFileError(f"id {problem.id!r} is already taken")
            problems[problem.id] = problem
        except ProblemFileError as fault:
            faults.append(f"{path}:{number}: {fault}")
    if faults:
        more = len(faults) - _MOST_FAULTS_SHOWN
        shown = faults[:_MOST_FAULTS_SHOWN] + ([f"... and {more} more faulty rows"] if more > 0 else [])
        raise ProblemFileError("\n".join(shown))
    if not problems:
        raise ProblemFileError(f"{path}: holds no problems")
    return list(problems.values())


def _record(line: str) -> Mapping[str, Any]:
    """A row; unlike those of answers it may hold infinities, which are inputs like any other."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProblemFileError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ProblemFileError("not an object")
    return record


def _parse(record: Mapping[str, Any], source: str) -> CodeProblem:
    if evalplus.is_evalplus(record):
        return evalplus.parse_problem(record, source)
    if livecodebench.is_livecodebench(record):
        return livecodebench.parse_problem(record, source)
    raise ProblemFileError(
        "neither a row of EvalPlus (task_id, base_input, …) nor of LiveCodeBench (question_content, "
        f"public_test_cases, …); fields seen: {', '.join(map(repr, record)) or 'none'}"
    )
