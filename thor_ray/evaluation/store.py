"""Evaluations on disk: rows appended one by one, reports written whole.

::

    <run>/evaluation/
        about.json      what is evaluated, and how
        samples.jsonl   one row a line, appended as samples finish
        report.json report.md report.html   (`writers`)

A writer that is killed leaves at most one torn line behind, which readers skip and the next writer cuts off. So an
evaluation can go on where it stopped: what has a row is done.
"""

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from thor_ray.errors import RecordFormatError, UserError
from thor_ray.evaluation.figures import About
from thor_ray.evaluation.samples import SCHEMA_VERSION, EvaluationSample, SampleKey, latest_samples
from thor_ray.files import drop_torn_line, naming_full_disks, write_text_atomically

FOLDER: Final = "evaluation"
"""Of an evaluation inside a run directory."""

_ROW: Final = TypeAdapter(EvaluationSample)


class EvaluationDirectory:
    """The files of one evaluation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def samples_file(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def about_file(self) -> Path:
        return self.path / "about.json"

    def about(self) -> About:
        """What is evaluated, and how.

        Raises:
            RecordFormatError: the file is missing or another version wrote it.
        """
        try:
            return About.model_validate_json(self.about_file.read_bytes())
        except (OSError, ValidationError) as error:
            raise RecordFormatError(f"{self.about_file} cannot be read: {error}") from error

    def samples(self) -> list[EvaluationSample]:
        """All rows (`read_samples`)."""
        return read_samples(self.samples_file)

    def create(self, about: About, *, overwrite: bool = False) -> None:
        """Begins a new evaluation here.

        Raises:
            UserError: there is one, and it may not be overwritten; or no directory can be made.
            DiskFullError: no room.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.path} cannot hold an evaluation: {error.strerror}", "choose another place"
            ) from error
        if self.samples_file.exists():
            if not overwrite:
                raise UserError(
                    f"{self.path} holds an evaluation already",
                    "go on with it by --resume, replace it by --overwrite, or choose a --name",
                )
            self.samples_file.unlink()
        write_text_atomically(self.about_file, about.model_dump_json(indent=2) + "\n")

    def resume(self, about: About) -> None:
        """Goes on with the evaluation that is here.

        Raises:
            RecordFormatError: there is none, or another version wrote it.
            UserError: it is about something else.
        """
        known, asked = self.about().settings, about.settings
        if changed := sorted(name for name in known.keys() | asked.keys() if known.get(name) != asked.get(name)):
            differences = "; ".join(f"{name} is {known.get(name)!r}, not {asked.get(name)!r}" for name in changed)
            raise UserError(
                f"{self.path} was started with other settings: {differences}",
                "start anew with --overwrite or another --name",
            )


class SampleLog:
    """Appends rows to one file; a context manager. Each row is one write, so that readers and kills find whole lines.

    Args:
        path: The file; made if it does not exist, gone on with if it does.

    Raises:
        RecordFormatError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        drop_torn_line(path)
        earlier = read_samples(path) if path.exists() else []
        self.done: set[SampleKey] = {sample.key for sample in earlier}
        """Samples that have a row already."""
        self.attempt: int = 1 + max((sample.attempt for sample in earlier), default=0)
        """For the rows of this writer: one more than the highest so far."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def append(self, sample: EvaluationSample) -> None:
        """Adds one row.

        Raises:
            DiskFullError: no room.
        """
        data = _line(sample).encode()
        with naming_full_disks(self.path):
            if os.write(self._file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.done.add(sample.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)


def read_samples(path: Path) -> list[EvaluationSample]:
    """The rows of a file, the latest of each key, ordered by key; a torn last line is not there yet.

    Raises:
        RecordFormatError: the file cannot be read, or a line is no row of this version.
    """
    try:
        *lines, _torn = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordFormatError(f"{path} cannot be read: {error.strerror}") from error
    return latest_samples(_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip())


def write_samples(path: Path, samples: Iterable[EvaluationSample]) -> None:
    """Writes a file of rows, whole or not at all.

    Raises:
        DiskFullError: no room.
    """
    write_text_atomically(path, "".join(map(_line, samples)))


def _line(sample: EvaluationSample) -> str:
    # Plain ASCII: what a policy writes may be half a surrogate pair, which JSON can say and UTF-8 cannot.
    return json.dumps(_ROW.dump_python(sample, mode="json"), allow_nan=False) + "\n"


def _row(path: Path, number: int, line: bytes) -> EvaluationSample:
    try:
        return _ROW.validate_python(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        fault = f"{'.'.join(map(str, first['loc'])) or 'row'}: {first['msg']}"
    except ValueError as error:
        fault = f"not JSON: {error}"
    raise RecordFormatError(
        f"{path}, line {number}: no evaluation row of schema {SCHEMA_VERSION}: {fault}",
        "read it with the version that wrote it",
    )
