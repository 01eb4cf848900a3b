"""Keeps the beginning and the end of a stream of any length in bounded memory."""

from __future__ import annotations


class HeadTailCapture:
    """Bytes of one output stream, the middle dropped once the stream is longer than head + tail.

    Invariant: at most `head_bytes + 2 * tail_bytes + one chunk` are held, however much is fed.
    """

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def feed(self, chunk: bytes) -> None:
        """Appends `chunk`."""
        self.total += len(chunk)
        room = self._head_bytes - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        if len(self._tail) > 2 * self._tail_bytes:
            del self._tail[: -self._tail_bytes]

    @property
    def truncated(self) -> bool:
        """Whether the text leaves something out."""
        return self.total > self._head_bytes + self._tail_bytes

    def text(self) -> str:
        """What was kept, as valid Unicode; a note stands where the middle was."""
        if not self.truncated:
            return (self._head + self._tail).decode("utf-8", "replace")
        head, tail = _without_cut_end(self._head), _without_cut_start(self._tail[-self._tail_bytes :])
        omitted = self.total - len(head) - len(tail)
        return (
            f"{head.decode('utf-8', 'replace')}\n... [{omitted} bytes left out] ...\n{tail.decode('utf-8', 'replace')}"
        )


def _is_continuation(byte: int) -> bool:
    return byte & 0b1100_0000 == 0b1000_0000


def _without_cut_start(data: bytearray) -> bytearray:
    """Drops the rest of a UTF-8 character that the cut went through: at most three continuation bytes."""
    start = 0
    while start < min(3, len(data)) and _is_continuation(data[start]):
        start += 1
    return data[start:]


def _without_cut_end(data: bytearray) -> bytearray:
    """Drops the first bytes of a UTF-8 character that the cut went through."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if _is_continuation(byte):
            continue
        length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return data[:-back] if length > back else data
    return data
