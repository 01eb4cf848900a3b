"""Rows of problem files: JSON Lines, plain or compressed, and Parquet."""

import gzip
import importlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.fields import Record, type_name

PARQUET_SUFFIX: Final = ".parquet"
GZIP_SUFFIX: Final = ".gz"
_ROWS_PER_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or what is wrong with it, so that all faults of a file can be told at once.

    Attributes:
        number: Counted from 1; of JSON Lines it is the line.
        record: The row's fields.
    """

    number: int
    record: Record | ProblemFileError


def file_rows(path: Path) -> Iterator[Row]:
    """All rows of a file: Parquet by its suffix, anything else is JSON Lines, ``.gz`` compressed.

    Raises:
        ProblemFileError: the file cannot be read; the message names it.
    """
    if path.is_dir():
        held = sorted(each.name for each in path.iterdir() if each.is_file())[:5]
        raise ProblemFileError(
            f"{path}: cannot be read, it is a folder; name a file in it: {', '.join(held) or 'none'}"
        )
    return parquet_rows(path) if path.suffix == PARQUET_SUFFIX else json_rows(path)


def json_rows(path: Path) -> Iterator[Row]:
    """The lines of a file that are not blank.

    Raises:
        ProblemFileError: the file is missing, cannot be read, or is not UTF-8 text.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield Row(number, parse_line(line))


def parse_line(line: str) -> Record | ProblemFileError:
    """The object that a line holds, or why it holds none."""
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except ProblemFileError as fault:
        return fault
    except (ValueError, RecursionError) as error:  # ValueError also covers integers of more than 4300 digits
        return ProblemFileError(f"not JSON: {error}")
    return record if isinstance(record, dict) else ProblemFileError(f"not an object, but {type_name(record)}")


def parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file.

    Raises:
        ProblemFileError: the file is missing or no Parquet file, or pyarrow is not installed.
    """
    pyarrow = require_library("pyarrow", f"to read {path}")
    parquet = require_library("pyarrow.parquet", f"to read {path}")
    try:
        with parquet.ParquetFile(path) as table:
            number = 0
            for batch in table.iter_batches(batch_size=_ROWS_PER_BATCH):
                for record in batch.to_pylist():
                    number += 1
                    yield Row(number, record)
    except FileNotFoundError as error:
        raise ProblemFileError(f"{path}: no such problem file") from error
    except (OSError, pyarrow.ArrowException) as error:
        raise ProblemFileError(f"{path}: cannot be read as Parquet ({error})") from error


def require_library(name: str, purpose: str) -> Any:
    """A module that not every installation has.

    Raises:
        ProblemFileError: it cannot be imported; the message says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ProblemFileError(
            f"{package} is needed {purpose}, but cannot be imported ({error}); pip install {package}"
        ) from error


def read_text(path: Path) -> str:
    """All of a text file, ``.gz`` compressed or not.

    Raises:
        ProblemFileError: the file is missing, cannot be read, or is not UTF-8 text.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == GZIP_SUFFIX else data).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ProblemFileError(f"{path}: no such problem file") from error
    except UnicodeDecodeError as error:
        raise ProblemFileError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ProblemFileError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _refuse_constant(name: str) -> None:
    raise ProblemFileError(f"not JSON: {name} is not a number")
