"""Searching the texts of trajectories, which stay on the disk until somebody asks.

Texts that were read are kept in lower case up to a budget of memory, and hits are kept by file and word: record files
never change, so a search that is typed letter by letter, paged through or repeated after a round reads little twice.
"""

import re
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
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
LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""What no text holds, since it cannot be written."""
LONGEST_PATTERN: Final = 1_000
"""Characters; longer regular expressions may be refused."""


def rows_with(texts: pa.StringArray, words: str) -> npt.NDArray[np.bool_]:
    """Bool ``[rows]``: which texts contain ``words``. Other threads go on meanwhile."""
    if SEPARATOR in words or LONE_SURROGATE.search(words):
        return np.zeros(len(texts), np.bool_)
    if len(words) > LONGEST_PATTERN:
        found = pc.match_substring(texts, words)
    else:
        # Arrow looks for plain words letter by letter; its regular expressions jump to what is rare in them.
        found = pc.match_substring_regex(texts, r"\Q" + words.replace(r"\E", r"\E\\E\Q") + r"\E")
    marked: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return marked


class TextSearch:
    """Finds words in the texts of record files; safe to use from several threads."""

    def __init__(self, budget_bytes: int = TEXT_BUDGET_BYTES) -> None:
        self._budget = budget_bytes
        self._lock = Lock()
        self._texts: OrderedDict[FileStamp, pa.StringArray] = OrderedDict()
        self._held_bytes = 0
        # Who searches while texts are read ahead waits for them, and does not read them a second time.
        self._reading: dict[FileStamp, Future[pa.StringArray]] = {}
        self._hits: OrderedDict[tuple[FileStamp, str], npt.NDArray[np.int64]] = OrderedDict()
        self._warming: Thread | None = None

    def matches(self, snapshot: Snapshot, words: str, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Bool ``[rows of the index]``: rows of ``among`` with ``words`` in an id, an answer or their text.

        Upper and lower case are the same. Files without a row in ``among`` are not read.
        """
        lowered = words.lower()
        found = rows_with(snapshot.short_texts, lowered).copy()
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
        hits = np.flatnonzero(rows_with(self._texts_of(stamp), words))
        with self._lock:
            self._hits[stamp, words] = hits
            while len(self._hits) > REMEMBERED_SEARCHES:
                self._hits.popitem(last=False)
        return hits

    def _texts_of(self, stamp: FileStamp) -> pa.StringArray:
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
            self._held_bytes += texts.nbytes
            while self._held_bytes > self._budget and len(self._texts) > 1:
                _, oldest = self._texts.popitem(last=False)
                self._held_bytes -= oldest.nbytes
        mine.set_result(texts)
        return texts


def _read_texts(stamp: FileStamp) -> pa.StringArray:
    """All texts of a record file in lower case; each row's are joined by ``SEPARATOR``."""
    try:
        chunks = read_columns([stamp.path], ["texts"])["texts"].chunks
    except (FileNotFoundError, RecordFormatError):
        chunks = []  # Superseded since the index was made.
    lists = pa.concat_arrays(chunks or [pa.array([], pa.list_(pa.string()))])
    return pc.utf8_lower(pc.binary_join(lists, SEPARATOR)).fill_null("")
