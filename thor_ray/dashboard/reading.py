"""Reading single trajectories by their place in a record file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thor_ray.dashboard.index import Snapshot
from thor_ray.errors import RecordFormatError, UserError
from thor_ray.records import Record, records_of


class NotRecordedError(UserError):
    """The run has no such trajectory, group or problem."""


def rows_where(snapshot: Snapshot, column: str, value: str) -> pa.Table:
    """The index's rows with ``value`` in ``column``, in the order in which they were recorded."""
    return snapshot.table.filter(pc.equal(snapshot.table[column], value))


def records_at(snapshot: Snapshot, rows: pa.Table) -> list[Record]:
    """The records of some rows of the index, in their order; each row group is read once.

    Raises:
        RecordFormatError: a file went away or cannot be read.
    """
    files, positions = rows["file"].to_numpy(), rows["row"].to_numpy()
    found: dict[tuple[int, int], Record] = {}
    for number in np.unique(files):
        wanted = np.unique(positions[files == number])
        for position, record in zip(wanted, _records_in(snapshot.files[number].path, wanted), strict=True):
            found[int(number), int(position)] = record
    return [found[int(number), int(position)] for number, position in zip(files, positions, strict=True)]


def one_record(snapshot: Snapshot, trajectory_id: str) -> Record:
    """The record of one trajectory.

    Raises:
        NotRecordedError: there is none.
        RecordFormatError: its file went away or cannot be read.
    """
    rows = rows_where(snapshot, "trajectory_id", trajectory_id)
    if not len(rows):
        raise NotRecordedError(f"the run has no trajectory {trajectory_id!r}")
    return records_at(snapshot, rows.slice(0, 1))[0]


def _records_in(path: Path, positions: npt.NDArray[np.int32]) -> list[Record]:
    """The records at ascending ``positions`` of a file; row groups without one are not read."""
    try:
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = np.concatenate([[0], np.cumsum(sizes)])
            groups = np.searchsorted(starts, positions, side="right") - 1
            tables = [
                file.read_row_group(int(group)).take(pa.array(positions[groups == group] - starts[group]))
                for group in np.unique(groups)
            ]
    except (FileNotFoundError, pa.ArrowInvalid, IndexError) as error:
        raise RecordFormatError(f"{path.name} cannot be read: {error}", "reload the page") from error
    return [record for table in tables for record in records_of(table)]
