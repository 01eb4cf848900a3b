"""Benchmarks by name: what each is, and where its file lies on this machine."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from thor_ray.grading.policy import EXACT, GradingPolicy
from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.rows import file_rows

DATA_VARIABLE: Final = "THOR_DATA"
"""Environment variable that names the folder with benchmark files."""

FOLDERS: Final = ("benchmarks", "benchmarks/code", ".", "code")
"""Where a file may lie below that folder."""

ZERO_SHOT: Final = "zero-shot; the question word for word in the policy's own template, which asks for a boxed answer"


class BenchmarkKind(StrEnum):
    """What a benchmark's answers are checked by."""

    MATHEMATICS = "mathematics"
    """Gold answers, which a rule compares."""
    CODE = "code"
    """Tests, which a sandbox runs."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A public test set, and how it is to be used so that figures can be compared.

    Attributes:
        name: Short, lower case; ``thor eval`` and recipes use it.
        title: As papers write it.
        size: Number of problems.
        licence: As stated by the source.
        origin: Repository, path and commit of the text that ``size`` and ``errata`` speak of.
        citation: Authors, title, year, place.
        samples: Samples per problem that figures are averaged over.
        samples_origin: Who says so.
        aliases: Other names.
        kind: Mathematics or code.
        in_paper: Whether THOR reports it.
        grading: What its graders may tolerate.
        prompt: How the question is asked.
        errata: Known traps of text and golds.
        files: Names that its file may have; empty means the benchmark's own, as JSON Lines or Parquet.
    """

    name: str
    title: str
    size: int
    licence: str
    origin: str
    citation: str
    samples: int
    samples_origin: str
    aliases: tuple[str, ...] = ()
    kind: BenchmarkKind = BenchmarkKind.MATHEMATICS
    in_paper: bool = True
    grading: GradingPolicy = EXACT
    prompt: str = ZERO_SHOT
    errata: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names that its file may have."""
        return self.files or (f"{self.name}.jsonl", f"{self.name}.parquet")


def data_directory(given: Path | None = None) -> Path | None:
    """Where benchmark files lie: ``given``, else what ``THOR_DATA`` names, else nowhere."""
    named = os.environ.get(DATA_VARIABLE)
    return given or (Path(named) if named else None)


def find_file(benchmark: Benchmark, data_dir: Path | None = None) -> Path | None:
    """The benchmark's file, ``None`` where there is none."""
    directory = data_directory(data_dir)
    return next((path for path in _candidates(benchmark, directory) if path.is_file()), None)


def problem_file(benchmark: Benchmark, data_dir: Path | None = None) -> Path:
    """The file of a mathematics benchmark.

    Raises:
        ProblemFileError: there is none, or the benchmark is one of programs; the message says where it was looked for.
    """
    if benchmark.kind is not BenchmarkKind.MATHEMATICS:
        raise ProblemFileError(f"{benchmark.name} is a code benchmark: its problems have tests instead of answers")
    path = find_file(benchmark, data_dir)
    if path is not None:
        return path
    raise missing_file(benchmark, data_dir)


def missing_file(benchmark: Benchmark, data_dir: Path | None = None) -> ProblemFileError:
    """What to say where ``find_file`` finds none: where it was looked for, and how to name the right folder."""
    directory = data_directory(data_dir)
    if directory is None:
        return ProblemFileError(
            f"no file of benchmark {benchmark.name} is known: name the folder that holds "
            f"{' or '.join(benchmark.file_names)} with --data-dir or {DATA_VARIABLE}; its origin: {benchmark.origin}"
        )
    tried = ", ".join(str(path) for path in _candidates(benchmark, directory))
    return ProblemFileError(
        f"no file of benchmark {benchmark.name} in {directory}: tried {tried}; its origin: {benchmark.origin}"
    )


def count_rows(path: Path) -> int:
    """Number of rows of a problem file, whatever they hold.

    Raises:
        ProblemFileError: the file cannot be read.
    """
    return sum(1 for _ in file_rows(path))


def require_size(benchmark: Benchmark, count: int, label: str) -> None:
    """Refuses a file that holds another number of problems than the benchmark: its figures would not be comparable.

    Raises:
        ProblemFileError: it does.
    """
    if count != benchmark.size:
        raise ProblemFileError(
            f"{label} holds {count} problems, but {benchmark.title} has {benchmark.size}: figures would not be "
            f"comparable. To use it all the same, name the file by its path instead of {benchmark.name!r}"
        )


def _candidates(benchmark: Benchmark, directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield from (directory / folder / name for folder in FOLDERS for name in benchmark.file_names)
