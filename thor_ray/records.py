"""Trajectories on disk: one Arrow schema, one Parquet row a trajectory (architecture, "The data model").

A row holds all that is known of a trajectory, so that a finished run can be looked at, replayed through a learner and
audited without the code that made it. The small columns at the front (status, counts, reward) are there to filter and
page by without reading tokens. Columns of the learner are empty until it has something to say.

Reading gives back exactly what was written, down to the bits of the log-probs. One exception: text that is no valid
Unicode (lone surrogates) cannot be stored as such and comes back escaped, ``\\ud800``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thor_ray import __version__
from thor_ray.errors import RecordFormatError
from thor_ray.files import atomic_path
from thor_ray.record_schema import (
    SCHEMA,
    SCHEMA_VERSION,
    SUMMARY_COLUMNS,
    TOKEN_COLUMNS,
    VERSION_KEY,
    WRITER_KEY,
    trajectory_from_row,
    trajectory_to_row,
)
from thor_ray.segments import Decoder, discarded_texts, segment_texts
from thor_ray.trajectory import Group, GroupKind, Trajectory

ROWS_PER_GROUP: Final = 1024
"""Rows of one Parquet row group: what a page of a viewer has to read at the most."""


class Stage(StrEnum):
    """The part of a run that made a record. Evaluations name the policy that they judge."""

    TIRGEN = "tirgen"
    COLD_START = "cold_start"
    RL = "rl"
    EVALUATE_BASE = "evaluate_base"
    EVALUATE_COLD_START = "evaluate_cold_start"
    EVALUATE_COLD_START_SELF_CORRECTION = "evaluate_cold_start_self_correction"
    EVALUATE_DURING_COLD_START = "evaluate_during_cold_start"
    EVALUATE_DURING_RL = "evaluate_during_rl"
    EVALUATE_RL = "evaluate_rl"
    EVALUATE_RL_SELF_CORRECTION = "evaluate_rl_self_correction"
    EVALUATE = "evaluate"
    """Any other checkpoint, by ``thor eval``."""
    SOLVE = "solve"

    @property
    def corrects_itself(self) -> bool:
        """Whether failed steps are resampled (spec F.1); evaluations only."""
        return self.value.endswith("_self_correction")


EVALUATIONS: Final = {
    Stage.EVALUATE_BASE: "base",
    Stage.EVALUATE_COLD_START: "cold_start",
    Stage.EVALUATE_COLD_START_SELF_CORRECTION: "cold_start_self_correction",
    Stage.EVALUATE_RL: "rl",
    Stage.EVALUATE_RL_SELF_CORRECTION: "rl_self_correction",
}
"""Evaluations of what a run has learnt, in this order, and what reports call the policy."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What the learner made of a trajectory.

    Attributes:
        advantage: Of every token of the trajectory; ``None`` where there is none.
        proximal_log_probs: float32 ``[len(ids)]``, log-probs under the policy at the start of the update round.
        excluded: Why the trajectory did not train although its group did, e.g. ``failed_code``.
    """

    advantage: float | None = None
    proximal_log_probs: npt.NDArray[np.float32] | None = None
    excluded: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One row: a trajectory, where it comes from, and what became of it.

    Attributes:
        trajectory: The trajectory itself.
        group_uid: The group it belongs to.
        group_kind: That group's level.
        group_dropped: Why the group does not reach the learner; ``None`` if it does.
        stage: The stage that made it.
        round: The stage's round, from 0.
        texts: The decoded segments (``segments_of``); empty where no decoder was given.
        discarded_texts: The decoded discarded attempts, likewise.
        gold_answer: The problem's answer, where given.
        learned: What the learner made of it.
    """

    trajectory: Trajectory
    group_uid: str
    group_kind: GroupKind
    group_dropped: str | None
    stage: Stage
    round: int
    texts: tuple[str, ...] = ()
    discarded_texts: tuple[str, ...] = ()
    gold_answer: str | None = None
    learned: Learned = field(default_factory=Learned)


def write_groups(
    path: Path,
    groups: Iterable[Group],
    stage: Stage,
    round_index: int,
    *,
    decode: Decoder | None = None,
    gold_answers: Mapping[str, str] | None = None,
    learned: Mapping[str, Learned] | None = None,
) -> None:
    """Writes all trajectories of ``groups`` to one file, whole or not at all.

    Args:
        path: The Parquet file; replaced where it exists.
        groups: What one round of a stage made, dropped groups included.
        stage: The stage.
        round_index: Its round, from 0.
        decode: Token ids to text; without it the text columns stay empty.
        gold_answers: By problem id.
        learned: What the learner has to say, by trajectory id.

    Raises:
        ValueError: a group or a trajectory stands there twice, or a group is empty and would be lost.
        DiskFullError: no room.
    """
    write_records(path, _records_of(groups, stage, round_index, decode, gold_answers or {}, learned or {}))


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Writes rows to one file, whole or not at all; a row group of them is in memory at a time.

    Raises:
        ValueError: two rows are of the same trajectory.
        DiskFullError: no room.
    """
    left, seen = iter(records), set[str]()
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        while part := list(islice(left, ROWS_PER_GROUP)):
            for record in part:
                if record.trajectory.id in seen:
                    raise ValueError(f"trajectory {record.trajectory.id} is recorded 2 times in {path.name}")
                seen.add(record.trajectory.id)
            writer.write_table(table_of(part))


def _records_of(
    groups: Iterable[Group],
    stage: Stage,
    round_index: int,
    decode: Decoder | None,
    gold_answers: Mapping[str, str],
    learned: Mapping[str, Learned],
) -> Iterator[Record]:
    uids: set[str] = set()
    for group in groups:
        if group.uid in uids:
            raise ValueError(f"two groups have the uid {group.uid}")
        uids.add(group.uid)
        if not group.trajectories:
            raise ValueError(f"group {group.uid} has no trajectories, so no row could hold it")
        for trajectory in (each.loaded() for each in group.trajectories):
            yield Record(
                trajectory=trajectory,
                group_uid=group.uid,
                group_kind=group.kind,
                group_dropped=group.dropped,
                stage=stage,
                round=round_index,
                texts=segment_texts(trajectory, decode) if decode else (),
                discarded_texts=discarded_texts(trajectory, decode) if decode else (),
                gold_answer=gold_answers.get(trajectory.problem_id),
                learned=learned.get(trajectory.id, Learned()),
            )


def table_of(records: Iterable[Record]) -> pa.Table:
    """Rows as an Arrow table of our schema."""
    rows = [_to_row(record) for record in records]
    try:
        return pa.Table.from_pylist(rows, schema=SCHEMA)
    except UnicodeEncodeError:
        return pa.Table.from_pylist([_escape_surrogates(row) for row in rows], schema=SCHEMA)


def write_table(path: Path, table: pa.Table) -> None:
    """Writes a table of our schema to one file, whole or not at all.

    Raises:
        DiskFullError: no room.
    """
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROWS_PER_GROUP)


def read_records(paths: Iterable[Path], trajectory_id: str | None = None) -> Iterator[Record]:
    """Reads rows in the order in which they were written, file by file.

    Args:
        paths: Record files.
        trajectory_id: Only the rows of this trajectory.

    Raises:
        RecordFormatError: a file is no record of ours, or of another schema version.
    """
    for path in paths:
        with _open(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP):
                if trajectory_id is not None:
                    batch = batch.filter(pc.equal(batch.column("trajectory_id"), trajectory_id))
                yield from records_of(batch)


def read_trajectories(paths: Iterable[Path]) -> list[Trajectory]:
    """All trajectories of the files.

    Raises:
        RecordFormatError: a file is no record of ours, or of another schema version.
    """
    return [record.trajectory for record in read_records(paths)]


def read_groups(paths: Iterable[Path]) -> list[Group]:
    """The groups that were written, in order.

    Raises:
        RecordFormatError: a file is no record of ours, or of another schema version.
    """
    groups = []
    for uid, members in groupby(read_records(paths), key=lambda record: record.group_uid):
        records = list(members)
        first, trajectories = records[0], tuple(record.trajectory for record in records)
        groups.append(Group(uid, first.group_kind, first.trajectory.problem_id, trajectories, first.group_dropped))
    return groups


def read_columns(paths: Iterable[Path], columns: Sequence[str] = SUMMARY_COLUMNS) -> pa.Table:
    """Some columns of all rows as one Arrow table; the rest of the files is not read.

    Raises:
        RecordFormatError: a file is no record of ours, or of another schema version.
    """
    tables = []
    for path in paths:
        with _open(path) as file:
            tables.append(file.read(columns=list(columns)))
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise RecordFormatError(
            f"{path} is not a Parquet file: {error}", "remove it; records are written whole, so something else did this"
        ) from error
    metadata = file.schema_arrow.metadata or {}
    version, writer = metadata.get(VERSION_KEY, b"").decode(), metadata.get(WRITER_KEY, b"unknown").decode()
    if version == str(SCHEMA_VERSION):
        return file
    file.close()
    if not version:
        raise RecordFormatError(f"{path} is a Parquet file, but holds no trajectories of ours")
    raise RecordFormatError(
        f"{path} has record schema {version}, written by thor-ray {writer}; thor-ray {__version__} reads schema "
        f"{SCHEMA_VERSION}",
        f"read it with thor-ray {writer} (pip install thor-ray=={writer})",
    )


def _to_row(record: Record) -> dict[str, Any]:
    return {
        **trajectory_to_row(record.trajectory),
        "stage": str(record.stage),
        "round": record.round,
        "group_uid": record.group_uid,
        "group_kind": str(record.group_kind),
        "group_dropped": record.group_dropped,
        "gold_answer": record.gold_answer,
        "texts": record.texts,
        "discarded_texts": record.discarded_texts,
        "advantage": record.learned.advantage,
        "proximal_log_probs": record.learned.proximal_log_probs,
        "excluded": record.learned.excluded,
    }


def records_of(batch: pa.RecordBatch | pa.Table) -> Iterator[Record]:
    """The records that rows of a record file hold, all columns of the schema present."""
    tokens = {name: batch.column(name) for name in TOKEN_COLUMNS}
    for index, row in enumerate(batch.drop_columns(list(TOKEN_COLUMNS)).to_pylist()):
        arrays = {name: _array(column[index]) for name, column in tokens.items()}
        yield Record(
            trajectory=trajectory_from_row(row, arrays),
            group_uid=row["group_uid"],
            group_kind=GroupKind(row["group_kind"]),
            group_dropped=row["group_dropped"],
            stage=Stage(row["stage"]),
            round=row["round"],
            texts=tuple(row["texts"]),
            discarded_texts=tuple(row["discarded_texts"]),
            gold_answer=row["gold_answer"],
            learned=Learned(row["advantage"], arrays["proximal_log_probs"], row["excluded"]),
        )


def _array(scalar: Any) -> Any:
    """One row's array (``None`` where it is null), on its own memory so that it does not keep its batch alive."""
    return None if scalar.values is None else scalar.values.to_numpy(zero_copy_only=False).copy()


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _escape_surrogates(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_escape_surrogates(child) for child in value]
    return value
