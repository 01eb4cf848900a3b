"""Every candidate that TIRGen has finished, on disk the moment it is finished: what a killed run goes on from.

::

    candidates-00000.jsonl, candidates-00001.jsonl, ...    one candidate a line, some thousand lines a file

Lines are only ever appended, each by one write, and each names its candidate by problem, source and attempt. A writer that is
killed leaves at most one torn line behind, which the next one cuts off; a candidate is finished if and only if it has a
line. Of each line no more than its place and a few words are kept in memory.
"""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from sys import intern
from types import TracebackType
from typing import Any, Final, Self

from thor_ray.demonstrations import Demonstration, Rejection, Source
from thor_ray.demonstrations.serial import demonstration_from_json, demonstration_to_json
from thor_ray.errors import RecordFormatError
from thor_ray.files import drop_torn_line, naming_full_disks
from thor_ray.tirgen.costs import CandidateCost

FOLDER: Final = "candidates"
"""Of a run's TIRGen directory, where the shards lie."""

LINES_PER_SHARD: Final = 2048


@dataclass(frozen=True, slots=True, order=True)
class CandidateKey:
    """Names a candidate for as long as a run lives, however often it is stopped.

    Attributes:
        source: Who wrote the solution.
        attempt: Which of the source's solutions of the problem, from 0.
        problem_id: What it answers.
    """

    source: Source
    attempt: int
    problem_id: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A solution after TIRGen.

    Attributes:
        key: Which.
        solution: As its source wrote it.
        demonstration: What it was rewritten to.
        rejection: Why no filter on single demonstrations may keep it; ``None`` if it passed all.
        cost: Of making it.
    """

    key: CandidateKey
    solution: str
    demonstration: Demonstration
    rejection: Rejection | None
    cost: CandidateCost


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept in memory of a candidate.

    Attributes:
        key: Which.
        id: Of its trajectory.
        calls: Its programs.
        rejection: See ``Candidate``.
        cost: See ``Candidate``.
        shard: Where its line is.
        offset: Of its line, in bytes.
    """

    key: CandidateKey
    id: str
    calls: int
    rejection: Rejection | None
    cost: CandidateCost
    shard: int
    offset: int

    @property
    def problem_id(self) -> str:
        return self.key.problem_id


class Ledger:
    """The candidates of one run; a context manager where something is to be appended.

    Args:
        directory: Of the shards; made with the first candidate.
        lines_per_shard: After so many, a new file is begun.

    Raises:
        RecordFormatError: a line is not one of ours.
    """

    def __init__(self, directory: Path, lines_per_shard: int = LINES_PER_SHARD) -> None:
        self.directory = directory
        self._lines_per_shard = lines_per_shard
        self._entries: dict[CandidateKey, Entry] = {}
        self._shards = self._lines = 0
        self._file: int | None = None
        for shard, path in enumerate(sorted(directory.glob("candidates-*.jsonl"))):
            self._shards, self._lines = shard + 1, 0
            for offset, line in _lines(path):
                candidate = _candidate(line, f"{path}, byte {offset}")
                self._note(candidate, shard, offset)
                self._lines += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: CandidateKey) -> bool:
        return key in self._entries

    def entries(self) -> list[Entry]:
        """What is finished, ordered by source, attempt and problem: an order that no interruption changes."""
        return [self._entries[key] for key in sorted(self._entries)]

    def append(self, candidate: Candidate) -> None:
        """Writes down a finished candidate.

        Raises:
            ValueError: it was finished before.
            DiskFullError: no room.
        """
        if candidate.key in self._entries:
            raise ValueError(f"{candidate.key} is finished already")
        file = self._writable()
        offset = os.lseek(file, 0, os.SEEK_END)
        data = _line(candidate)
        with naming_full_disks(self._path(self._shards - 1)):
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._lines += 1
        self._note(candidate, self._shards - 1, offset)

    def read(self, entry: Entry) -> Candidate:
        """All of a finished candidate."""
        with self._path(entry.shard).open("rb") as file:
            file.seek(entry.offset)
            return _candidate(file.readline(), f"{self._path(entry.shard)}, byte {entry.offset}")

    def _note(self, candidate: Candidate, shard: int, offset: int) -> None:
        trajectory = candidate.demonstration.trajectory
        entry = Entry(
            candidate.key, trajectory.id, trajectory.calls, candidate.rejection, candidate.cost, shard, offset
        )
        self._entries.setdefault(candidate.key, entry)

    def _writable(self) -> int:
        """The file that takes the next line."""
        if self._file is not None and self._lines < self._lines_per_shard:
            return self._file
        self._close()
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._shards:
            # A writer that was killed may have begun a line.
            drop_torn_line(self._path(self._shards - 1))
        if not self._shards or self._lines >= self._lines_per_shard:
            self._shards, self._lines = self._shards + 1, 0
        path = self._path(self._shards - 1)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _path(self, shard: int) -> Path:
        return self.directory / f"candidates-{shard:05d}.jsonl"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their offsets; a torn last one is not there yet."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def _line(candidate: Candidate) -> bytes:
    key, rejection = candidate.key, candidate.rejection
    tree = {
        "problem_id": key.problem_id,
        "source": str(key.source),
        "attempt": key.attempt,
        "rejection": None if rejection is None else [rejection.position, rejection.rule, rejection.reason],
        "cost": asdict(candidate.cost),
        "solution": candidate.solution,
        "demonstration": demonstration_to_json(candidate.demonstration),
    }
    # Plain ASCII: what a policy writes may be half a surrogate pair, which JSON can say and UTF-8 cannot.
    return json.dumps(tree, allow_nan=False).encode() + b"\n"


def _candidate(line: bytes, where: str) -> Candidate:
    try:
        tree: dict[str, Any] = json.loads(line)
        rejection = tree["rejection"]
        return Candidate(
            key=CandidateKey(Source(tree["source"]), tree["attempt"], tree["problem_id"]),
            solution=tree["solution"],
            demonstration=demonstration_from_json(tree["demonstration"]),
            rejection=None if rejection is None else Rejection(rejection[0], *map(intern, rejection[1:])),
            cost=CandidateCost(**tree["cost"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RecordFormatError(
            f"{where}: no candidate of TIRGen: {error}", "read it with the version that wrote it"
        ) from error
