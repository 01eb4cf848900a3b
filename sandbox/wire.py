"""The packets between supervisor and zygote: numbers and descriptors only, never a program or its output.

One `SOCK_SEQPACKET` socket per zygote; one packet is one message. Imported on both sides, so it stays light.
"""

from __future__ import annotations

import array
import socket
import struct
from typing import NamedTuple

MAX_PACKET = 64 * 1024
ORDER_DESCRIPTORS = 5
"""An order carries, in this order: program, stdout, stderr, report, scratch directory."""

HELLO = b"H"
"""Zygote → supervisor, once: JSON with what it can do."""
STARTED = b"S"
"""Zygote → supervisor: the child runs; carries its pidfd."""
ENDED = b"E"
"""Zygote → supervisor: the child is reaped."""
REFUSED = b"R"
"""Zygote → supervisor: the fork failed; carries the errno."""

REPORT_STARTED = b"S"
"""First byte of a child's report pipe: it is locked down, the program's first statement comes next."""

_ORDER = struct.Struct("<QII")
_STARTED = struct.Struct("<Q")
_ENDED = struct.Struct("<QiQQQ")
_REFUSED = struct.Struct("<Qi")


class Order(NamedTuple):
    """Supervisor → zygote: run one program."""

    execution: int
    seed: int
    cpu_seconds: int

    def pack(self) -> bytes:
        return _ORDER.pack(*self)

    @classmethod
    def unpack(cls, packet: bytes) -> Order:
        return cls(*_ORDER.unpack(packet))


class Started(NamedTuple):
    """The child runs."""

    execution: int

    def pack(self) -> bytes:
        return STARTED + _STARTED.pack(*self)


class Ended(NamedTuple):
    """What the kernel says about a child that ended.

    Attributes:
        execution: whose child it was.
        wait_status: the status word of wait(2).
        user_us: user CPU time in microseconds.
        system_us: system CPU time in microseconds.
        max_rss_kb: peak resident memory in KiB.
    """

    execution: int
    wait_status: int
    user_us: int
    system_us: int
    max_rss_kb: int

    def pack(self) -> bytes:
        return ENDED + _ENDED.pack(*self)


class Refused(NamedTuple):
    """The kernel gave no process."""

    execution: int
    errno: int

    def pack(self) -> bytes:
        return REFUSED + _REFUSED.pack(*self)


class Hello(NamedTuple):
    """The zygote's first packet, still as the JSON text that it carries."""

    json: bytes

    def pack(self) -> bytes:
        return HELLO + self.json


Message = Hello | Started | Ended | Refused


def unpack_message(packet: bytes) -> Message:
    """Reads a packet of the zygote.

    Raises:
        ValueError: it is none.
    """
    kind, body = packet[:1], packet[1:]
    try:
        if kind == HELLO:
            return Hello(body)
        if kind == STARTED:
            return Started(*_STARTED.unpack(body))
        if kind == ENDED:
            return Ended(*_ENDED.unpack(body))
        if kind == REFUSED:
            return Refused(*_REFUSED.unpack(body))
    except struct.error as error:
        raise ValueError(f"packet of kind {kind!r} has a wrong length: {error}") from error
    raise ValueError(f"unknown packet kind {kind!r}")


def receive(control: socket.socket, max_descriptors: int) -> tuple[bytes, list[int]]:
    """Takes one packet, empty if the other side is gone, with its descriptors, which no exec'ed process inherits.

    Raises:
        OSError: as `recvmsg` does, `BlockingIOError` among them.
    """
    integers = array.array("i")
    space = socket.CMSG_SPACE(max_descriptors * integers.itemsize)
    packet, ancillary, _, _ = control.recvmsg(MAX_PACKET, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            integers.frombytes(data[: len(data) - len(data) % integers.itemsize])
    return packet, integers.tolist()
