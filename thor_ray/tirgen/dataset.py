"""Demonstrations as a data set: Parquet files and a card, as the library `datasets` and its hubs take them.

::

    README.md                     the card: a YAML header that says where the rows are, counts, how the set came about
    data/train-00000.parquet ...  one demonstration a row
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Final

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from thor_ray.demonstrations import Demonstration
from thor_ray.errors import UserError
from thor_ray.files import atomic_path, write_text_atomically
from thor_ray.problems import Problem
from thor_ray.segments import Decoder, segment_texts, segments_of
from thor_ray.tirgen.export import MESSAGE_FIELDS, message_row

FOLDER: Final = "dataset"
"""Of a run's TIRGen directory, where its data set lies."""

CARD: Final = "README.md"
ROWS_PER_TABLE: Final = 512
TABLES_PER_FILE: Final = 20

SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("problem_id", pa.string()),
        ("source", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("gold_answer", pa.string()),
        ("calls", pa.int32()),
        ("failed_calls", pa.int32()),
        ("tokens", pa.int32()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("segments", pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string())]))),
    ]
)
"""Of the rows. ``segments`` are the response in pieces, so that observations can be kept out of a loss; ``tokens`` count
the prompt."""

_SIZES: Final = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
)
_LARGEST: Final = "n>1M"
"""Categories of the hub."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a data set comes from.

    Attributes:
        name: Of the data set.
        settings: What is worth knowing of how it was made, for people.
        funnels: What the filters took out (``Funnel.to_json``), by name.
        costs: Figures of ``CandidateCost.figures``; none where nothing was counted.
    """

    name: str
    settings: Mapping[str, Any]
    funnels: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Counts:
    """What the card says of the rows, counted while they are written."""

    sources: Counter[str] = field(default_factory=Counter)
    calls: Counter[int] = field(default_factory=Counter)
    tokens: list[int] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        self.sources[row["source"]] += 1
        self.calls[row["calls"]] += 1
        self.tokens.append(row["tokens"])

    @property
    def rows(self) -> int:
        return len(self.tokens)

    def lengths(self) -> dict[str, int]:
        """Quantiles of the number of tokens, the smallest value at or above each."""
        ordered = sorted(self.tokens)
        shares = {"shortest": 0.0, "median": 0.5, "95 % at most": 0.95, "longest": 1.0}
        return {name: ordered[round(share * (len(ordered) - 1))] for name, share in shares.items() if ordered}


def dataset_row(demonstration: Demonstration, problem: Problem, decode: Decoder) -> dict[str, Any]:
    """One row of ``SCHEMA``."""
    trajectory = demonstration.trajectory
    kinds = [segment.kind for segment in segments_of(trajectory)]
    pieces = [
        {"kind": str(kind), "text": text}
        for kind, text in zip(kinds, segment_texts(trajectory, decode), strict=True)
        if kind != "prompt"
    ]
    return {
        **message_row(demonstration, problem.question, decode),
        "question": problem.question,
        "gold_answer": problem.answer,
        "failed_calls": sum(step.result.status.failed for step in trajectory.steps),
        "tokens": trajectory.length,
        "segments": pieces,
    }


def write_dataset(directory: Path, rows: Iterable[Mapping[str, Any]], origin: Origin) -> int:
    """Writes a data set, a few hundred rows in memory at a time; one that lies there already is replaced.

    Args:
        directory: Made if it is missing.
        rows: Of ``dataset_row``.
        origin: For the card.

    Returns:
        How many rows there are.

    Raises:
        DiskFullError: no room.
    """
    data = directory / "data"
    # Without its card it is no data set, so that a half-written one is not taken for a whole one.
    (directory / CARD).unlink(missing_ok=True)
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    counts = Counts()
    tables = _tables(rows, counts)
    for number in count():
        first = next(tables, None)
        if first is None and number:
            break
        # One file at the least: a data set without any cannot be loaded.
        part = chain([first or SCHEMA.empty_table()], islice(tables, TABLES_PER_FILE - 1))
        with (
            atomic_path(data / f"train-{number:05d}.parquet") as temporary,
            pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
        ):
            for table in part:
                writer.write_table(table)
    write_text_atomically(directory / CARD, card(origin, counts))
    return counts.rows


def read_rows(directory: Path) -> Iterator[dict[str, Any]]:
    """The rows of a data set, some hundred in memory at a time.

    Raises:
        UserError: there is none, or it is not finished.
    """
    if not (directory / CARD).is_file():
        raise UserError(f"{directory} holds no finished data set", "wait until TIRGen is done, or go on with --resume")
    for path in sorted((directory / "data").glob("train-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_TABLE):
                yield from batch.to_pylist()


def export_jsonl(directory: Path, path: Path, form: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> int:
    """Writes a data set as JSONL for other trainers, whole or not at all.

    Args:
        directory: Of the data set.
        path: The file; replaced where it exists.
        form: Makes a line of a row with ``messages``.

    Returns:
        How many lines there are.

    Raises:
        UserError: there is no finished data set.
        DiskFullError: no room.
    """
    lines = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in read_rows(directory):
            chosen = {name: row[name] for name in MESSAGE_FIELDS}
            file.write(json.dumps(form(chosen), ensure_ascii=False) + "\n")
            lines += 1
    return lines


def card(origin: Origin, counts: Counts) -> str:
    """The text of the card."""
    header = {
        "pretty_name": origin.name,
        "language": ["en"],
        "task_categories": ["text-generation"],
        "tags": ["mathematics", "tool-use", "tirgen", "thor-ray"],
        "size_categories": [next((name for size, name in _SIZES if counts.rows < size), _LARGEST)],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]},
        ],
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("thor_ray"),
        # Markdown, not HTML: nothing of it is a reader's input.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("dataset_card.md").render(
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True), origin=origin, counts=counts
    )


def _tables(rows: Iterable[Mapping[str, Any]], counts: Counts) -> Iterator[pa.Table]:
    """The rows, some hundred to a table, counted as they come by."""
    left = iter(rows)
    while part := list(islice(left, ROWS_PER_TABLE)):
        for row in part:
            counts.add(row)
        yield pa.Table.from_pylist([{name: row[name] for name in SCHEMA.names} for row in part], schema=SCHEMA)
