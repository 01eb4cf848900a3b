"""seccomp: which system calls exist for the zygote and for a program.

Two filters, because a long one costs half a millisecond to install: the zygote installs the allow-list once and every
child inherits it; a child adds a short list of refusals for what the zygote still needs (fork, descriptor passing, the
lock-down itself). The kernel takes the stricter answer. Refused calls fail with EPERM, so that libraries degrade instead
of dying; only a foreign ABI (i386, x32), which would bypass the numbers, kills.

The filters are classic BPF over `struct seccomp_data` (linux/seccomp.h): call number, architecture, six 64-bit arguments.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import struct
from collections.abc import Sequence

from sandbox.inside.kernel import MACHINE, PR_GET_NAME, PR_SET_NAME, syscall

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, constant."""

_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x54, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16

_ALLOW = 0x7FFF_0000
_KILL = 0x8000_0000
_REFUSE = 0x0005_0000 | errno.EPERM
_ABSENT = 0x0005_0000 | errno.ENOSYS

_ARCHITECTURE_X86_64 = 0xC000_003E
_X32_BIT = 0x4000_0000
_SECCOMP = 317
_SET_MODE_FILTER = 1

CALLS = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16,
    "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "pipe": 22, "select": 23,
    "sched_yield": 24, "mremap": 25, "msync": 26, "mincore": 27, "madvise": 28, "dup": 32, "dup2": 33, "pause": 34,
    "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "getpid": 39, "sendfile": 40, "sendto": 44,
    "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "socketpair": 53, "clone": 56, "exit": 60,
    "wait4": 61, "kill": 62, "uname": 63, "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76,
    "ftruncate": 77, "getdents": 78, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82, "mkdir": 83, "rmdir": 84,
    "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "umask": 95, "gettimeofday": 96,
    "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107,
    "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115, "getresuid": 118, "getresgid": 120,
    "getpgid": 121, "getsid": 124, "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130,
    "sigaltstack": 131, "statfs": 137, "fstatfs": 138, "getpriority": 140, "prctl": 157, "gettid": 186, "time": 201,
    "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219,
    "fadvise64": 221, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234, "openat": 257, "mkdirat": 258, "newfstatat": 262,
    "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "readlinkat": 267, "faccessat": 269,
    "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "get_robust_list": 274, "epoll_pwait": 281,
    "fallocate": 285, "eventfd2": 290, "epoll_create1": 291, "dup3": 292, "pipe2": 293, "preadv": 295, "pwritev": 296,
    "prlimit64": 302, "getcpu": 309, "renameat2": 316, "seccomp": 317, "getrandom": 318, "membarrier": 324,
    "copy_file_range": 326, "statx": 332, "rseq": 334, "pidfd_open": 434, "close_range": 436, "faccessat2": 439,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}  # fmt: skip
"""The allow-list: x86-64 numbers (arch/x86/entry/syscalls/syscall_64.tbl)."""

_CLONE3 = 435
_CLONE_THREAD = 0x0001_0000
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE_MASK = 1, 1, 0xF
_HARMLESS_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_REFUSED_FCNTLS = (8, 10, 15, 1024, 1026, 1031)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX make the kernel signal a process of the caller's choice; F_SETLEASE makes whoever writes to
a file of this user wait; F_NOTIFY watches directories; F_SETPIPE_SZ takes kernel memory that counts for nobody, and from a
budget that all pipes of the user share."""


def supported() -> bool:
    """Whether filters are written for this processor."""
    return MACHINE == "x86_64"


def zygote_filter() -> bytes:
    """The allow-list, with the calls that need a look at their arguments."""
    inspected = (
        *_only_if("ioctl", argument=1, among=_HARMLESS_IOCTLS),
        *_unless("fcntl", argument=1, among=_REFUSED_FCNTLS),
        *_plain_socketpair(),
        *_sendto_without_address(),
    )
    by_argument = {"ioctl", "fcntl", "socketpair", "sendto"}
    plain = sorted(number for name, number in CALLS.items() if name not in by_argument)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_EQUAL, 1, 0, _ARCHITECTURE_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
        # ENOSYS makes the C library fall back to clone, whose flags a filter can read.
        *_case(_CLONE3, [(_RETURN, 0, 0, _ABSENT)]),
        *inspected,
    ]
    for first, last in _ranges(plain):
        program += [(_AT_LEAST, 0, 2, first), (_ABOVE, 1, 0, last), (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _REFUSE))
    return _assemble(program)


def child_filter(pid: int) -> bytes:
    """What a program is refused on top: processes, signals to others, sockets' control messages, the lock-down's own calls.

    Args:
        pid: the child's process id, the only one it may signal.
    """
    program: list[Instruction] = [(_LOAD, 0, 0, _NUMBER_OFFSET)]
    threads_only: list[Instruction] = [
        (_LOAD, 0, 0, _argument(0)),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program += _case(CALLS["clone"], threads_only)
    program += _only_if("kill", argument=0, among=(pid,))
    program += _only_if("tgkill", argument=0, among=(pid,))
    program += _only_if("prlimit64", argument=0, among=(0, pid))
    program += _only_if("prctl", argument=0, among=(PR_SET_NAME, PR_GET_NAME))
    zygote_only = ("sendmsg", "recvmsg", "pidfd_open", "seccomp")
    for name in zygote_only:
        program += _case(CALLS[name], [(_RETURN, 0, 0, _REFUSE)])
    program += [(_AT_LEAST, 0, 1, CALLS["landlock_create_ruleset"]), (_RETURN, 0, 0, _REFUSE)]
    program.append((_RETURN, 0, 0, _ALLOW))
    return _assemble(program)


def install(program: bytes) -> None:
    """Puts a filter on this process, for good; needs `PR_SET_NO_NEW_PRIVS`.

    Raises:
        OSError: the kernel refuses.
    """
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(code)), 16)
    syscall(_SECCOMP, _SET_MODE_FILTER, 0, ctypes.addressof(header))


def fingerprint() -> str:
    """Names the pair of filters, so that a log shows which one really ran."""
    return hashlib.sha256(zygote_filter() + child_filter(pid=0)).hexdigest()[:12]


def _argument(index: int) -> int:
    """Offset of an argument's low 32 bits; the kernel reads no more of a descriptor, pid or flag word."""
    return _ARGUMENTS_OFFSET + 8 * index


def _case(number: int, block: Sequence[Instruction]) -> list[Instruction]:
    """If the call number (in the accumulator) is `number`, runs `block`, which must return."""
    return [(_EQUAL, 0, len(block), number), *block]


def _only_if(name: str, argument: int, among: Sequence[int]) -> list[Instruction]:
    return _by_argument(name, argument, among, inside=_ALLOW, outside=_REFUSE)


def _unless(name: str, argument: int, among: Sequence[int]) -> list[Instruction]:
    return _by_argument(name, argument, among, inside=_REFUSE, outside=_ALLOW)


def _by_argument(name: str, argument: int, among: Sequence[int], inside: int, outside: int) -> list[Instruction]:
    tests = [(_EQUAL, len(among) - position, 0, value) for position, value in enumerate(among)]
    load = (_LOAD, 0, 0, _argument(argument))
    return _case(CALLS[name], [load, *tests, (_RETURN, 0, 0, outside), (_RETURN, 0, 0, inside)])


def _plain_socketpair() -> list[Instruction]:
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
    return _case(CALLS["socketpair"], block)


def _sendto_without_address() -> list[Instruction]:
    """`send` on a connected pair is `sendto` with a null address; a pointer needs both halves of the argument."""
    block: list[Instruction] = [
        (_LOAD, 0, 0, _argument(4)),
        (_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, _argument(4) + 4),
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return _case(CALLS["sendto"], block)


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
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
