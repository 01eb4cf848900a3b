"""Records that come one by one: each safe on disk at once, all of them in Parquet files before long.

A Parquet file is whole or absent, so it cannot grow by a row. Until enough rows have come for a file, they stand in a
spool beside it: frames of a length (8 bytes, little-endian) and one row as an Arrow stream. A killed writer leaves a torn
frame at most, which the next one cuts off.
"""

import errno
import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from thor_ray.files import naming_full_disks
from thor_ray.records import Record, table_of, write_table

_LENGTH_BYTES: Final = 8


class RecordSpool:
    """The rows that are in no Parquet file yet.

    Args:
        path: The spool; made if it does not exist.
        wanted: Ids of the trajectories to keep of what an earlier writer left.
    """

    def __init__(self, path: Path, wanted: Container[str]) -> None:
        self.path = path
        left = list(_frames(path.read_bytes())) if path.exists() else []
        self._rows: dict[str, pa.Table] = {name: row for row in left if (name := _id_of(row)) in wanted}
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        for row in self._rows.values():
            self._write(row)

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, record: Record) -> None:
        """Adds one row.

        Raises:
            DiskFullError: no room.
        """
        row = table_of([record])
        self._write(row)
        self._rows[record.trajectory.id] = row

    def gather(self, path: Path) -> None:
        """Moves all rows into a Parquet file, and empties the spool.

        Raises:
            DiskFullError: no room; nothing has been moved.
        """
        write_table(path, pa.concat_tables(self._rows.values()))
        os.ftruncate(self._file, 0)
        self._rows.clear()

    def close(self) -> None:
        """Leaves the file behind while it holds something."""
        os.close(self._file)
        if not self._rows:
            self.path.unlink()

    def _write(self, row: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, row.schema) as stream:
            stream.write_table(row)
        data = sink.getvalue().to_pybytes()
        frame = len(data).to_bytes(_LENGTH_BYTES, "little") + data
        with naming_full_disks(self.path):
            if os.write(self._file, frame) != len(frame):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _frames(data: bytes) -> Iterator[pa.Table]:
    """The whole frames at the beginning of ``data``."""
    start = 0
    while start + _LENGTH_BYTES <= len(data):
        end = start + _LENGTH_BYTES + int.from_bytes(data[start : start + _LENGTH_BYTES], "little")
        if end > len(data):
            return
        yield pa.ipc.open_stream(data[start + _LENGTH_BYTES : end]).read_all()
        start = end


def _id_of(row: pa.Table) -> str:
    return str(row.column("trajectory_id")[0].as_py())
