"""seccomp: which system calls exist for the zygote and for a program.

Two filters, because a long one costs half a millisecond to install: the zygote installs the allow-list once and every
child inherits it; a child adds a short list of refusals for what the zygote still needs (fork, descriptor passing, the
lock-down itself). The kernel takes the stricter answer. Refused calls fail with EPERM, so that libraries degrade instead
of dying; only a foreign ABI (i386, x32, 32-bit ARM), which would bypass the numbers, kills.

The filters are classic BPF over `struct seccomp_data` (linux/seccomp.h): call number, architecture, six 64-bit arguments.
"""

from __future__ import annotations

import errno
import hashlib
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum

from sandbox.inside.kernel import CLONE_NEWNS, PR_GET_NAME, PR_SET_NAME, SCRATCH_MOUNT_FLAGS, Buffer, syscall
from sandbox.inside.syscalls import CLONE3, HERE, Architecture

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, constant."""

_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x54, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16

_ALLOW = 0x7FFF_0000
_KILL = 0x8000_0000
_REFUSE = 0x0005_0000 | errno.EPERM
_ABSENT = 0x0005_0000 | errno.ENOSYS

_SET_MODE_FILTER = 1
_INSTRUCTION = struct.Struct("<HBBI")
_PID = struct.Struct("<I")

_NAMESPACE_CALLS = ("mount", "unshare", "capset")
"""What a zygote in namespaces of its own lets a child do first of all: mount a scratch file system, then drop the privilege."""
_ZYGOTES_OWN = ("sendmsg", "recvmsg", "pidfd_open", "seccomp")
_FILE_CALLS = (
    "open", "openat", "creat", "truncate", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "unlink",
    "unlinkat", "link", "linkat", "symlink", "symlinkat", "readlink", "readlinkat",
)  # fmt: skip

_CLONE_THREAD = 0x0001_0000
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE_MASK = 1, 1, 0xF
_HARMLESS_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_REFUSED_FCNTLS = (8, 10, 15, 1024, 1026, 1031)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX make the kernel signal a process of the caller's choice; F_SETLEASE makes whoever writes to
a file of this user wait; F_NOTIFY watches directories; F_SETPIPE_SZ takes kernel memory that counts for nobody, and from a
budget that all pipes of the user share."""


class Boundary(IntEnum):
    """What keeps a program from this machine's files; the number is that of the isolation level that it makes."""

    NOTHING = 0
    """There is no filter either."""
    FILTER = 1
    """The filter alone: the program can open no file at all."""
    LANDLOCK = 2
    ROOT = 3
    """A root directory of its own, in namespaces of its own, with or without Landlock."""


def zygote_filter(boundary: Boundary, machine: Architecture) -> bytes:
    """The allow-list, with the calls that need a look at their arguments."""
    calls = machine.calls
    inspected = {
        "ioctl": _only_if(calls["ioctl"], argument=1, among=_HARMLESS_IOCTLS),
        "fcntl": _unless(calls["fcntl"], argument=1, among=_REFUSED_FCNTLS),
        "socketpair": _plain_socketpair(calls["socketpair"]),
        "sendto": _sendto_without_address(calls["sendto"]),
        "mount": _only_if(calls["mount"], argument=3, among=(SCRATCH_MOUNT_FLAGS,)),
        "unshare": _only_if(calls["unshare"], argument=0, among=(CLONE_NEWNS,)),
    }
    refused = () if boundary is Boundary.ROOT else _NAMESPACE_CALLS
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_EQUAL, 1, 0, machine.identity),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if machine.foreign_from is not None:
        program += [(_AT_LEAST, 0, 1, machine.foreign_from), (_RETURN, 0, 0, _KILL)]
    # ENOSYS makes the C library fall back to clone, whose flags a filter can read.
    program += _case(CLONE3, [(_RETURN, 0, 0, _ABSENT)])
    for name, block in inspected.items():
        program += [] if name in refused else block
    plain = sorted(number for name, number in calls.items() if name not in inspected and name not in refused)
    for first, last in _ranges(plain):
        program += [(_AT_LEAST, 0, 2, first), (_ABOVE, 1, 0, last), (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _REFUSE))
    return _assemble(program)


def child_filter(pid: int, boundary: Boundary, machine: Architecture) -> bytes:
    """What a program is refused on top: processes, signals to others, sockets' control messages, the lock-down's own calls.

    Args:
        pid: the child's process id, the only one it may signal.
        boundary: what else confines it.
        machine: the processor.
    """
    calls = machine.calls
    program: list[Instruction] = [(_LOAD, 0, 0, _NUMBER_OFFSET)]
    threads_only: list[Instruction] = [
        (_LOAD, 0, 0, _argument(0)),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program += _case(calls["clone"], threads_only)
    program += _only_if(calls["kill"], argument=0, among=(pid,))
    program += _only_if(calls["tgkill"], argument=0, among=(pid,))
    program += _only_if(calls["prlimit64"], argument=0, among=(0, pid))
    program += _only_if(calls["prctl"], argument=0, among=(PR_SET_NAME, PR_GET_NAME))
    for number in _refused_to_programs(boundary, machine):
        program += _case(number, [(_RETURN, 0, 0, _REFUSE)])
    program += [(_AT_LEAST, 0, 1, calls["landlock_create_ruleset"]), (_RETURN, 0, 0, _REFUSE)]
    program.append((_RETURN, 0, 0, _ALLOW))
    return _assemble(program)


def _refused_to_programs(boundary: Boundary, machine: Architecture) -> Iterable[int]:
    names: tuple[str, ...] = _ZYGOTES_OWN
    if boundary is Boundary.ROOT:
        names += _NAMESPACE_CALLS
    if boundary is Boundary.FILTER:
        names += _FILE_CALLS
    return (machine.calls[name] for name in names if name in machine.calls)


class _Filter:
    """A filter where the kernel can read it."""

    def __init__(self, program: bytes) -> None:
        assert HERE is not None, "no filter can have been written for this processor"
        self.code = Buffer(program)
        self._header = Buffer(struct.pack("<HxxxxxxQ", len(program) // _INSTRUCTION.size, self.code.address))
        self._call = HERE.calls["seccomp"]

    def install(self) -> None:
        syscall(self._call, _SET_MODE_FILTER, 0, self._header.address)


def install(program: bytes) -> None:
    """Puts a filter on this process, for good; needs `PR_SET_NO_NEW_PRIVS`.

    Raises:
        OSError: the kernel refuses.
    """
    _Filter(program).install()


class ChildFilter:
    """`child_filter` but for the process id. Made once, for each child to fill in its own and put on itself."""

    def __init__(self, boundary: Boundary, machine: Architecture) -> None:
        # No process has either number, and they differ in every byte: so do the programs, only where the number stands.
        program, other = (child_filter(pid, boundary, machine) for pid in (0x7F7F_7F7F, 0x7E7E_7E7E))
        self._filter = _Filter(program)
        self._pid_places = [place for place in range(0, len(program), _PID.size) if program[place] != other[place]]

    def install(self, pid: int) -> None:
        """Puts the filter on this process, whose id is given, for good; needs `PR_SET_NO_NEW_PRIVS`.

        Raises:
            OSError: the kernel refuses.
        """
        for place in self._pid_places:
            _PID.pack_into(self._filter.code.content, place, pid)
        self._filter.install()


def fingerprint(boundary: Boundary, machine: Architecture) -> str:
    """Names the pair of filters, so that a log shows which one really ran."""
    return hashlib.sha256(zygote_filter(boundary, machine) + child_filter(0, boundary, machine)).hexdigest()[:12]


def _argument(index: int) -> int:
    """Offset of an argument's low 32 bits; the kernel reads no more of a descriptor, pid or flag word."""
    return _ARGUMENTS_OFFSET + 8 * index


def _case(number: int, block: Sequence[Instruction]) -> list[Instruction]:
    """If the call number (in the accumulator) is `number`, runs `block`, which must return."""
    return [(_EQUAL, 0, len(block), number), *block]


def _only_if(number: int, argument: int, among: Sequence[int]) -> list[Instruction]:
    return _by_argument(number, argument, among, inside=_ALLOW, outside=_REFUSE)


def _unless(number: int, argument: int, among: Sequence[int]) -> list[Instruction]:
    return _by_argument(number, argument, among, inside=_REFUSE, outside=_ALLOW)


def _by_argument(number: int, argument: int, among: Sequence[int], inside: int, outside: int) -> list[Instruction]:
    tests = [(_EQUAL, len(among) - position, 0, value) for position, value in enumerate(among)]
    load = (_LOAD, 0, 0, _argument(argument))
    return _case(number, [load, *tests, (_RETURN, 0, 0, outside), (_RETURN, 0, 0, inside)])


def _plain_socketpair(number: int) -> list[Instruction]:
    """AF_UNIX stream pairs only (asyncio's wake-up needs one): a datagram socket could send to any socket file."""
    block: list[Instruction] = [
        (_LOAD, 0, 0, _argument(0)),
        (_EQUAL, 0, 4, _AF_UNIX),
        (_LOAD, 0, 0, _argument(1)),
        (_AND, 0, 0, _SOCK_TYPE_MASK),
        (_EQUAL, 0, 1, _SOCK_STREAM),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return _case(number, block)


def _sendto_without_address(number: int) -> list[Instruction]:
    """`send` on a connected pair is `sendto` with a null address; a pointer needs both halves of the argument."""
    block: list[Instruction] = [
        (_LOAD, 0, 0, _argument(4)),
        (_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, _argument(4) + 4),
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return _case(number, block)


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Joins sorted numbers into (first, last) runs."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _assemble(program: Sequence[Instruction]) -> bytes:
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
