"""Searching the texts of trajectories, which stay on the disk until somebody asks.

Texts that were read are kept in lower case up to a budget of memory, and hits are kept by file and word: record files
never change, so a search that is typed letter by letter, paged through or repeated after a round reads little twice.
"""

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thor_ray.dashboard.index import FileStamp, Snapshot
from thor_ray.errors import RecordFormatError
from thor_ray.records import read_columns

TEXT_BUDGET_BYTES: Final = 256 * 2**20
REMEMBERED_SEARCHES: Final = 4096
_SHORT_COLUMNS: Final = ("trajectory_id", "problem_id", "answer", "gold_answer")
_READERS: Final = 4


class TextSearch:
    """Finds words in the texts of record files; safe to use from several threads."""

    def __init__(self, budget_bytes: int = TEXT_BUDGET_BYTES) -> None:
        self._budget = budget_bytes
        self._lock = Lock()
        self._texts: OrderedDict[FileStamp, tuple[Any, npt.NDArray[np.int64]]] = OrderedDict()
        self._held_bytes = 0
        self._hits: OrderedDict[tuple[FileStamp, str], npt.NDArray[np.int64]] = OrderedDict()

    def matches(self, snapshot: Snapshot, words: str, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Bool ``[rows of the index]``: rows of ``among`` with ``words`` in an id, an answer or their text.

        Upper and lower case are the same. Files without a row in ``among`` are not read.
        """
        found = np.zeros(len(snapshot.table), np.bool_)
        for name in _SHORT_COLUMNS:
            column = pc.match_substring(snapshot.table[name], words, ignore_case=True)
            found |= column.fill_null(False).to_numpy()
        files, rows = snapshot.table["file"].to_numpy(), snapshot.table["row"].to_numpy()
        wanted = [int(number) for number in np.unique(files[among & ~found])]
        with ThreadPoolExecutor(_READERS) as pool:
            every = pool.map(lambda number: self._rows_with(snapshot.files[number], words.lower()), wanted)
            for number, hits in zip(wanted, every, strict=True):
                here = np.flatnonzero(files == number)
                found[here[np.isin(rows[here], hits)]] = True
        return found & among

    def _rows_with(self, stamp: FileStamp, words: str) -> npt.NDArray[np.int64]:
        with self._lock:
            if (known := self._hits.get((stamp, words))) is not None:
                return known
        texts, owners = self._texts_of(stamp)
        held = pc.match_substring(texts, words).fill_null(False).to_numpy(zero_copy_only=False)
        hits = np.unique(owners[held])
        with self._lock:
            self._hits[stamp, words] = hits
            while len(self._hits) > REMEMBERED_SEARCHES:
                self._hits.popitem(last=False)
        return hits

    def _texts_of(self, stamp: FileStamp) -> tuple[Any, npt.NDArray[np.int64]]:
        """All texts of a file in lower case, and the row that each belongs to."""
        with self._lock:
            if stamp in self._texts:
                self._texts.move_to_end(stamp)
                return self._texts[stamp]
        try:
            chunks = read_columns([stamp.path], ["texts"])["texts"].chunks
        except (FileNotFoundError, RecordFormatError):
            chunks = []  # Superseded since the index was made.
        lists = pa.concat_arrays(chunks or [pa.array([], pa.list_(pa.string()))])
        owners = np.repeat(np.arange(len(lists)), lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        texts = pc.utf8_lower(lists.flatten())
        with self._lock:
            if stamp not in self._texts:
                self._texts[stamp] = (texts, owners)
                self._held_bytes += texts.nbytes
            while self._held_bytes > self._budget and len(self._texts) > 1:
                _, (oldest, _) = self._texts.popitem(last=False)
                self._held_bytes -= oldest.nbytes
        return texts, owners
