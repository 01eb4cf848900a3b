"""Searching the texts of trajectories, which stay on the disk until somebody asks.

Texts that were read are kept in lower case up to a budget of memory, and hits are kept by file and word: record files
never change, so a search that is typed letter by letter, paged through or repeated after a round reads little twice.
"""

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thor_ray.dashboard.index import READERS, FileStamp, Snapshot
from thor_ray.errors import RecordFormatError
from thor_ray.records import read_columns

TEXT_BUDGET_BYTES: Final = 384 * 2**20
REMEMBERED_SEARCHES: Final = 4096
SEPARATOR: Final = "\0"
"""Stands between the texts of a trajectory, so that nothing is found across their borders."""


@dataclass(frozen=True, slots=True)
class FileTexts:
    """All texts of a record file in lower case, one after the other.

    Attributes:
        data: UTF-8; each row's texts are joined by ``SEPARATOR``.
        ends: Int64 ``[rows]``, where each row's texts end in ``data``.
    """

    data: bytes
    ends: npt.NDArray[np.int64]

    def rows_with(self, words: bytes) -> npt.NDArray[np.int64]:
        """The rows whose texts contain ``words``, ascending. A row's first hit is enough; hits across rows are none."""
        rows = []
        position = self.data.find(words)
        while position >= 0:
            row = int(np.searchsorted(self.ends, position, side="right"))
            end = int(self.ends[row])
            if position + len(words) <= end:
                rows.append(row)
                position = self.data.find(words, end)
            else:
                position = self.data.find(words, position + 1)
        return np.array(rows, np.int64)


class TextSearch:
    """Finds words in the texts of record files; safe to use from several threads."""

    def __init__(self, budget_bytes: int = TEXT_BUDGET_BYTES) -> None:
        self._budget = budget_bytes
        self._lock = Lock()
        self._texts: OrderedDict[FileStamp, FileTexts] = OrderedDict()
        self._held_bytes = 0
        # Who searches while texts are read ahead waits for them, and does not read them a second time.
        self._reading: dict[FileStamp, Future[FileTexts]] = {}
        self._hits: OrderedDict[tuple[FileStamp, str], npt.NDArray[np.int64]] = OrderedDict()
        self._warming: Thread | None = None

    def matches(self, snapshot: Snapshot, words: str, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Bool ``[rows of the index]``: rows of ``among`` with ``words`` in an id, an answer or their text.

        Upper and lower case are the same. Files without a row in ``among`` are not read.
        """
        lowered = words.lower()
        found: npt.NDArray[np.bool_] = pc.match_substring(snapshot.short_texts, lowered).to_numpy(zero_copy_only=False)
        found = found.copy()
        files = snapshot.file_numbers
        starts = np.searchsorted(files, np.arange(len(snapshot.files) + 1))
        wanted = [int(number) for number in np.unique(files[among & ~found])]
        with ThreadPoolExecutor(READERS) as pool:
            every = pool.map(lambda number: self._rows_with(snapshot.files[number], lowered), wanted)
            for number, hits in zip(wanted, every, strict=True):
                # A file's rows stand together in the index, in their order.
                found[starts[number] + hits[hits < starts[number + 1] - starts[number]]] = True
        return found & among

    def warm(self, snapshot: Snapshot) -> None:
        """Starts reading texts in the background, as far as the budget goes, so that the first search finds them there."""
        with self._lock:
            if self._warming is not None:
                return
            self._warming = Thread(target=self._read_ahead, args=(snapshot,), name="read texts", daemon=True)
        self._warming.start()

    def _read_ahead(self, snapshot: Snapshot) -> None:
        def read(stamp: FileStamp) -> None:
            with self._lock:
                full = self._held_bytes > self._budget * 0.8
            if not full:
                self._texts_of(stamp)

        len(snapshot.short_texts)
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(read, reversed(snapshot.files)))

    def _rows_with(self, stamp: FileStamp, words: str) -> npt.NDArray[np.int64]:
        with self._lock:
            if (known := self._hits.get((stamp, words))) is not None:
                return known
        hits = self._texts_of(stamp).rows_with(words.encode("utf-8", "surrogatepass"))
        with self._lock:
            self._hits[stamp, words] = hits
            while len(self._hits) > REMEMBERED_SEARCHES:
                self._hits.popitem(last=False)
        return hits

    def _texts_of(self, stamp: FileStamp) -> FileTexts:
        with self._lock:
            if stamp in self._texts:
                self._texts.move_to_end(stamp)
                return self._texts[stamp]
            under_way = self._reading.get(stamp)
            mine = self._reading.setdefault(stamp, Future())
        if under_way is not None:
            return under_way.result()
        try:
            texts = _read_texts(stamp)
        except BaseException as error:
            with self._lock:
                del self._reading[stamp]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._reading[stamp]
            self._texts[stamp] = texts
            self._held_bytes += len(texts.data)
            while self._held_bytes > self._budget and len(self._texts) > 1:
                _, oldest = self._texts.popitem(last=False)
                self._held_bytes -= len(oldest.data)
        mine.set_result(texts)
        return texts


def _read_texts(stamp: FileStamp) -> FileTexts:
    try:
        chunks = read_columns([stamp.path], ["texts"])["texts"].chunks
    except (FileNotFoundError, RecordFormatError):
        chunks = []  # Superseded since the index was made.
    lists = pa.concat_arrays(chunks or [pa.array([], pa.list_(pa.string()))])
    joined = pc.utf8_lower(pc.binary_join(lists, SEPARATOR)).fill_null("")
    lengths = pc.binary_length(joined).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    # A fresh array starts its data at its first offset.
    offset = int(np.frombuffer(joined.buffers()[1], np.int32)[joined.offset]) if len(joined) else 0
    data = joined.buffers()[2].slice(offset, int(ends[-1])).to_pybytes() if len(joined) and ends[-1] else b""
    return FileTexts(data, ends)
