"""What travels between the processes: numbers and descriptors to and from a zygote, orders to and reports from a child.

One `SOCK_SEQPACKET` socket per zygote; one packet is one message, never a program or its output. A child has two pipes of
its own: orders come by one, reports leave by the other. Imported on all sides, so it stays light.
"""

from __future__ import annotations

import array
import socket
import struct
from typing import NamedTuple

MAX_PACKET = 64 * 1024
CHILD_DESCRIPTORS = 6
"""A request for a child carries, in this order: program, orders, stdout, stderr, report, and the scratch directory unless
the child mounts its own."""

HELLO = b"H"
"""Zygote → supervisor, once: JSON with what it can do; carries the zygote's own pidfd."""
STARTED = b"S"
"""Zygote → supervisor: the child runs; carries its pidfd."""
SCRATCH = b"D"
"""Child → supervisor, while it locks itself down: it has mounted a scratch file system; carries its directory."""
ENDED = b"E"
"""Zygote → supervisor: the child is reaped."""
REFUSED = b"R"
"""Zygote → supervisor: the fork failed; carries the errno."""

REPORT_READY = b"S"
"""First byte of a child's report pipe: it is locked down and waits for orders. Anything else says why it could not be.
After it comes one line of JSON for each order."""

_NUMBER = struct.Struct("<Q")
_ORDER = struct.Struct("<QIII?")
_ENDED = struct.Struct("<QiQQQ")
_REFUSED = struct.Struct("<Qi")

ORDER_BYTES = _ORDER.size


class Fork(NamedTuple):
    """Supervisor → zygote: fork a child, which locks itself down and waits for orders.

    Attributes:
        child: names it in the packets.
    """

    child: int

    def pack(self) -> bytes:
        return _NUMBER.pack(*self)

    @classmethod
    def unpack(cls, packet: bytes) -> Fork:
        return cls(*_NUMBER.unpack(packet))


class Order(NamedTuple):
    """Supervisor → child, by the orders pipe: run the program that now stands in the program's file.

    Attributes:
        number: counts the orders that have left something in the namespace, from 1.
        program_bytes: how much of the file is the program; what follows is its standard input.
        seed: what the random generators start from at the first order.
        cpu_seconds: CPU time that this program may use.
        last: whether the child ends after it, and standard input is served.
    """

    number: int
    program_bytes: int
    seed: int
    cpu_seconds: int
    last: bool

    def pack(self) -> bytes:
        return _ORDER.pack(*self)

    @classmethod
    def unpack(cls, packet: bytes) -> Order:
        return cls(*_ORDER.unpack(packet))


class Started(NamedTuple):
    """The child exists; it may still be locking itself down."""

    child: int

    def pack(self) -> bytes:
        return STARTED + _NUMBER.pack(*self)


class Scratch(NamedTuple):
    """The child has a directory of its own making."""

    child: int

    def pack(self) -> bytes:
        return SCRATCH + _NUMBER.pack(*self)


class Ended(NamedTuple):
    """What the kernel says about a child that ended.

    Attributes:
        child: which one.
        wait_status: the status word of wait(2).
        user_us: user CPU time in microseconds.
        system_us: system CPU time in microseconds.
        max_rss_kb: peak resident memory in KiB.
    """

    child: int
    wait_status: int
    user_us: int
    system_us: int
    max_rss_kb: int

    def pack(self) -> bytes:
        return ENDED + _ENDED.pack(*self)


class Refused(NamedTuple):
    """The kernel gave no process."""

    child: int
    errno: int

    def pack(self) -> bytes:
        return REFUSED + _REFUSED.pack(*self)


class Hello(NamedTuple):
    """The zygote's first packet, still as the JSON text that it carries."""

    json: bytes

    def pack(self) -> bytes:
        return HELLO + self.json


Message = Hello | Started | Scratch | Ended | Refused


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
            return Started(*_NUMBER.unpack(body))
        if kind == SCRATCH:
            return Scratch(*_NUMBER.unpack(body))
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
