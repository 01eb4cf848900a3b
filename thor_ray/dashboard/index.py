"""The small columns of all trajectories of a run in memory, kept in step with its record files.

Record files appear whole and are never changed; a stage that is begun again removes and rewrites its own. So a file is
read once, known again by its size and time, and forgotten when it is gone.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thor_ray.dashboard.statuses import Status, holds
from thor_ray.errors import RecordFormatError
from thor_ray.record_schema import SCHEMA, SUMMARY_COLUMNS
from thor_ray.records import read_columns
from thor_ray.run_directory import RunDirectory
from thor_ray.trajectory import ExecutionStatus, FinishReason

SECONDS: Final = ("llm_seconds", "tool_seconds", "queue_seconds", "grade_seconds")
"""Where the time of a trajectory goes (``trajectory.Cost``)."""

READERS: Final = 2
"""Files that are read at a time; decompression runs outside the interpreter's lock."""

_LEAVES: Final = (
    "advantage",
    "excluded",
    "parent.trajectory_id",
    "parent.step_index",
    "parent.cut",
    *(f"cost.{name}" for name in SECONDS),
    "steps.list.element.code",
    "steps.list.element.inherited",
    "steps.list.element.result.status",
    "steps.list.element.action.end",
    "steps.list.element.observation.end",
)
"""What is read beside the summary columns. Leaves of structs, so that observations and tokens stay on the disk."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Tells one state of a file from another."""

    path: Path
    modified: int
    size: int

    @classmethod
    def of(cls, path: Path) -> "FileStamp | None":
        """The state of a file now; ``None`` where it has gone."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return cls(path, status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The index at one moment. What several requests need is worked out once and kept.

    Attributes:
        table: One row a trajectory: the summary columns, what ``_derived`` adds, ``file`` (a position in ``files``),
            ``row`` (in that file) and ``written`` (when the file was, in nanoseconds).
        files: The record files.
        unreadable: Files that could not be read, by name, and why.
    """

    table: pa.Table
    files: tuple[FileStamp, ...]
    unreadable: dict[str, str]

    @cached_property
    def flags(self) -> dict[Status, npt.NDArray[np.bool_]]:
        """Bool ``[rows]`` by status: for which rows it holds."""
        return {status: holds(self.table, status) for status in Status}

    @cached_property
    def stage_codes(self) -> tuple[list[str], npt.NDArray[np.int32]]:
        """The stages, and int32 ``[rows]``, the position of each row's stage among them."""
        encoded = only_chunk(self.table["stage"]).dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()

    @cached_property
    def file_numbers(self) -> npt.NDArray[np.int32]:
        """Int32 ``[rows]``, ascending: the column ``file``."""
        numbers: npt.NDArray[np.int32] = self.table["file"].to_numpy()
        return numbers

    @cached_property
    def short_texts(self) -> Any:
        """Strings ``[rows]``: ids, problem and answers in lower case, to be searched."""
        columns = [only_chunk(self.table[name]) for name in ("trajectory_id", "problem_id", "answer", "gold_answer")]
        return pc.utf8_lower(pc.binary_join_element_wise(*columns, "\n", null_handling="replace", null_replacement=""))

    @cached_property
    def stages(self) -> dict[str, list[int]]:
        """By stage: how many rows it has, its first round and its last."""
        names, codes = self.stage_codes
        rounds = self.table["round"].to_numpy()
        here = {name: rounds[codes == number] for number, name in enumerate(names)}
        return {name: [len(mine), int(mine.min()), int(mine.max())] for name, mine in sorted(here.items())}

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Float64 ``[rows]``: a column of numbers, NaN where there is none."""
        if column not in self._numbers:
            values = self.table[column].cast(pa.float64(), safe=False)
            self._numbers[column] = values.fill_null(np.nan).to_numpy()
        return self._numbers[column]

    @cached_property
    def _numbers(self) -> dict[str, npt.NDArray[np.float64]]:
        return {}


class RunIndex:
    """Summaries of a run's trajectories; safe to use from several threads."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._lock = Lock()
        self._parts: dict[FileStamp, pa.Table | str] = {}
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The index as of now; only files that are new since the last call are read."""
        with self._lock:
            stamps = [stamp for path in self._directory.record_files() if (stamp := FileStamp.of(path)) is not None]
            if self._snapshot is None or set(stamps) != set(self._parts):
                known = self._parts
                new = [stamp for stamp in stamps if stamp not in known]
                with ThreadPoolExecutor(READERS) as pool:
                    read = dict(zip(new, pool.map(_summaries, new), strict=True))
                self._parts = {stamp: known[stamp] if stamp in known else read[stamp] for stamp in stamps}
                self._snapshot = _assemble(self._parts)
            return self._snapshot


def _assemble(parts: dict[FileStamp, pa.Table | str]) -> Snapshot:
    readable = {stamp: part for stamp, part in parts.items() if not isinstance(part, str)}
    unreadable = {stamp.path.name: part for stamp, part in parts.items() if isinstance(part, str)}
    tables = [
        part.append_column("file", pa.array(np.full(len(part), number, np.int32)))
        for number, part in enumerate(readable.values() or [_no_summaries()])
    ]
    return Snapshot(pa.concat_tables(tables).combine_chunks(), tuple(readable), unreadable)


def _summaries(stamp: FileStamp) -> pa.Table | str:
    """One file's part of the index, or why it has none."""
    try:
        table = read_columns([stamp.path], SUMMARY_COLUMNS)
        leaves = pq.ParquetFile(stamp.path).read(columns=list(_LEAVES))
    except FileNotFoundError:
        return "it was removed while it was read"
    except (RecordFormatError, pa.ArrowInvalid) as error:
        return str(error)
    return _indexed(table, leaves, stamp.modified)


def _no_summaries() -> pa.Table:
    """The part of a file without trajectories."""
    nothing = SCHEMA.empty_table()
    return _indexed(nothing.select(SUMMARY_COLUMNS), nothing, 0)


def _indexed(summaries: pa.Table, leaves: pa.Table, modified: int) -> pa.Table:
    table = summaries
    for name, column in _derived(summaries, leaves).items():
        table = table.append_column(name, column)
    table = table.append_column("row", pa.array(np.arange(len(table), dtype=np.int32)))
    return table.append_column("written", pa.array(np.full(len(table), modified, np.int64)))


def _derived(table: pa.Table, leaves: pa.Table) -> dict[str, Any]:
    """What rows are filtered and sorted by beyond what is stored.

    Returns:
        ``advantage``, ``excluded``, ``parent_id``, ``parent_step``, ``parent_cut``, the ``SECONDS`` and their sum
        ``seconds``, ``void_turn`` and ``infra_error``.
    """
    parent, cost = only_chunk(leaves["parent"]), only_chunk(leaves["cost"])
    seconds = {name: pc.struct_field(cost, name) for name in SECONDS}
    total = sum(column.to_numpy(zero_copy_only=False) for column in seconds.values())
    steps = _Steps(only_chunk(leaves["steps"]))
    return {
        "advantage": leaves["advantage"],
        "excluded": leaves["excluded"],
        "parent_id": pc.struct_field(parent, "trajectory_id"),
        "parent_step": pc.struct_field(parent, "step_index"),
        "parent_cut": pc.struct_field(parent, "cut"),
        **seconds,
        "seconds": pa.array(total, pa.float64()),
        "void_turn": pa.array(_void_turns(table, steps)),
        "infra_error": pa.array(
            steps.any_own(pc.equal(steps.field("result", "status"), str(ExecutionStatus.INFRA_ERROR)))
        ),
    }


def _void_turns(table: pa.Table, steps: "_Steps") -> npt.NDArray[np.bool_]:
    """``selection.has_void_turn`` for whole columns; that module would load torch, which a page has no use for."""
    empty = steps.any_own(pc.equal(pc.utf8_trim_whitespace(steps.field("code")), ""))
    silent = pc.is_null(table["answer"]).to_numpy(zero_copy_only=False)
    finish, tokens = table["finish"], table["tokens"].to_numpy()
    answered = pc.equal(finish, str(FinishReason.ANSWERED)).to_numpy(zero_copy_only=False)
    cut_off = pc.equal(finish, str(FinishReason.LENGTH)).to_numpy(zero_copy_only=False)
    began_turn = tokens > steps.last_end()
    result: npt.NDArray[np.bool_] = empty | (silent & (answered | (cut_off & began_turn)))
    return result


class _Steps:
    """A column of lists of steps, flattened so that it can be asked without a loop over rows."""

    def __init__(self, column: Any) -> None:
        self._lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        self._flat = column.flatten()
        self._rows = np.repeat(np.arange(len(column)), self._lengths)
        self._own = ~self.field("inherited").fill_null(False).to_numpy(zero_copy_only=False)

    def field(self, *path: str) -> Any:
        """One field of every step of every row."""
        return pc.struct_field(self._flat, list(path))

    def any_own(self, condition: Any) -> npt.NDArray[np.bool_]:
        """Bool ``[rows]``: whether it holds for a step that the row's trajectory itself sampled."""
        held = condition.fill_null(False).to_numpy(zero_copy_only=False) & self._own
        return np.bincount(self._rows[held], minlength=len(self._lengths)) > 0

    def last_end(self) -> npt.NDArray[np.int64]:
        """Int ``[rows]``: where the last step's observation, or else action, ends; -1 without steps."""
        ends = pc.coalesce(self.field("observation", "end"), self.field("action", "end"))
        result = np.full(len(self._lengths), -1, np.int64)
        having = self._lengths > 0
        result[having] = ends.to_numpy(zero_copy_only=False)[np.cumsum(self._lengths)[having] - 1]
        return result


def only_chunk(column: Any) -> Any:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
