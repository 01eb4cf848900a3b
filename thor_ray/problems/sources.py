"""The front door to problems that exist: files, data sets of the Hugging Face hub, registered benchmarks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from thor_ray.problems import benchmarks, hub
from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.fields import LOOKED_UP, FieldNames, problem_from_record
from thor_ray.problems.problem import Problem
from thor_ray.problems.registry import benchmark_named
from thor_ray.problems.rows import Row, file_rows

_MOST_FAULTS_SHOWN: Final = 10
_SUFFIXES_OF_STEMS: Final = (".gz", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True, slots=True)
class Source:
    """Where problems come from.

    Attributes:
        label: Names it in messages: a file's path, or ``hf:owner/name:config:split``.
        stem: Begins the ids of rows that have none, and is the problems' ``source``.
        rows: Reads it from its beginning.
        benchmark: Of which this is the file, if it was asked for by the benchmark's name.
    """

    label: str
    stem: str
    rows: Callable[[], Iterator[Row]]
    benchmark: benchmarks.Benchmark | None = None


def find_source(source: str | Path, data_dir: Path | None = None) -> Source:
    """What ``source`` names; nothing is read yet.

    Args:
        source: ``hf:owner/name[:config][:split]``, a registered benchmark's name, or a path. A ``Path`` is always one.
        data_dir: Where benchmark files lie; ``None`` asks the environment variable ``THOR_DATA``.

    Raises:
        ProblemFileError: it is a benchmark whose file is not found, or which consists of programs.
    """
    if isinstance(source, str) and source.startswith(hub.PREFIX):
        dataset = hub.HubDataset.parse(source)
        return Source(str(dataset), dataset.stem, dataset.rows)
    benchmark = benchmark_named(source) if isinstance(source, str) else None
    if benchmark is not None:
        path = benchmarks.problem_file(benchmark, data_dir)
        return Source(str(path), benchmark.name, lambda: file_rows(path), benchmark)
    path = Path(source)
    return Source(str(path), _stem(path), lambda: file_rows(path))


def load_problems(
    source: str | Path,
    *,
    limit: int | None = None,
    shuffle_seed: int | None = None,
    names: FieldNames = LOOKED_UP,
    data_dir: Path | None = None,
) -> list[Problem]:
    """Reads all problems of a source, or refuses it.

    Args:
        source: ``hf:owner/name[:config][:split]``, a registered benchmark's name, or the path of a JSON Lines
            (``.gz`` compressed) or Parquet file. ``thor_ray.problems.fields`` lists the fields that are read.
        limit: Keep this many problems at most, counted after shuffling.
        shuffle_seed: Shuffle with this seed; None keeps the order.
        names: Which fields hold question and answer, where that list does not say.
        data_dir: Where benchmark files lie; ``None`` asks the environment variable ``THOR_DATA``.

    Raises:
        ProblemFileError: the source is missing, empty or cannot be read, a benchmark has the wrong size, or a row is
            not a problem; every row is checked, also those past ``limit``, and the message lists the first faults as
            ``file:row: fault``.
        ValueError: ``limit`` is less than 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, but is {limit}")
    found = find_source(source, data_dir)
    problems = [problem for _, problem in numbered_problems(found, names)]
    if found.benchmark is not None:
        benchmarks.require_size(found.benchmark, len(problems), found.label)
    if shuffle_seed is not None:
        Random(shuffle_seed).shuffle(problems)
    return problems[:limit]


def numbered_problems(source: Source, names: FieldNames = LOOKED_UP) -> list[tuple[int, Problem]]:
    """All problems of a source with the numbers of their rows.

    Raises:
        ProblemFileError: see ``load_problems``.
    """
    problems: list[tuple[int, Problem]] = []
    faults: list[str] = []
    first_row_of: dict[str, int] = {}
    for row in source.rows():
        try:
            problem = parse_row(row, source, names)
        except ProblemFileError as fault:
            faults.append(f"{source.label}:{row.number}: {fault}")
            continue
        earlier = first_row_of.setdefault(problem.id, row.number)
        if earlier != row.number:
            faults.append(f"{source.label}:{row.number}: id {problem.id!r} is already taken by row {earlier}")
        problems.append((row.number, problem))
    if faults:
        raise ProblemFileError("\n".join(_first(faults)))
    if not problems:
        raise ProblemFileError(f"{source.label}: holds no problems")
    return problems


def parse_row(row: Row, source: Source, names: FieldNames = LOOKED_UP) -> Problem:
    """The problem of one row.

    Raises:
        ProblemFileError: the row is none; the message says what is wrong, without file and row.
    """
    if isinstance(row.record, ProblemFileError):
        raise row.record
    return problem_from_record(row.record, default_id=f"{source.stem}-{row.number}", source=source.stem, names=names)


def _first(faults: Sequence[str]) -> list[str]:
    more = len(faults) - _MOST_FAULTS_SHOWN
    return [*faults[:_MOST_FAULTS_SHOWN], *([f"... and {more} more faulty rows"] if more > 0 else [])]


def _stem(path: Path) -> str:
    """The file's name without the suffixes of its formats; other dots belong to the name."""
    stem = path.name
    for suffix in _SUFFIXES_OF_STEMS:
        stem = stem.removesuffix(suffix) or stem
    return stem
