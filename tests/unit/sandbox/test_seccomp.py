"""The filters, run by a small interpreter of classic BPF: what they answer, not how they are written."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.inside import seccomp
from sandbox.inside.seccomp import CALLS

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, REFUSE, ABSENT, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
SEVERITY = [KILL, REFUSE, ABSENT, ALLOW]
OWN_PID = 4321


def answer(program: bytes, number: int, arguments: tuple[int, ...], architecture: int) -> int:
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(value % 2**64 for value in (*arguments, *(0,) * 6)[:6]))
    position, accumulator = 0, 0
    while True:
        code, if_true, if_false, constant = struct.unpack_from("<HBBI", program, 8 * position)
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x06:
                return int(constant)
            case 0x15:
                position += if_true if accumulator == constant else if_false
            case 0x35:
                position += if_true if accumulator >= constant else if_false
            case 0x25:
                position += if_true if accumulator > constant else if_false
            case 0x45:
                position += if_true if accumulator & constant else if_false
            case _:
                raise AssertionError(f"unknown operation {code:#x}")


def in_child(number: int, *arguments: int, architecture: int = X86_64) -> int:
    """The kernel runs all filters and takes the strictest answer."""
    answers = [
        answer(program, number, arguments, architecture)
        for program in (seccomp.zygote_filter(), seccomp.child_filter(OWN_PID))
    ]
    return min(answers, key=SEVERITY.index)


def in_zygote(number: int, *arguments: int) -> int:
    return answer(seccomp.zygote_filter(), number, arguments, X86_64)


INSPECTED = {"ioctl", "fcntl", "socketpair", "sendto", "clone", "kill", "tgkill", "prlimit64", "prctl"}
ZYGOTES_OWN = {
    "sendmsg",
    "recvmsg",
    "pidfd_open",
    "seccomp",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
}


@given(st.integers(0, 0x3FFFFFFF), st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_what_is_not_on_the_list_is_refused_whatever_its_arguments(number, arguments):
    if number not in CALLS.values() and number != 435:
        assert in_child(number, *arguments) == REFUSE


@pytest.mark.parametrize("name", sorted(set(CALLS) - INSPECTED - ZYGOTES_OWN))
def test_what_is_on_the_list_is_allowed(name):
    assert in_child(CALLS[name], 1, 2, 3, 4, 5, 6) == ALLOW


@pytest.mark.parametrize("name", sorted(ZYGOTES_OWN))
def test_the_zygotes_own_calls_are_refused_to_programs(name):
    assert in_zygote(CALLS[name]) == ALLOW
    assert in_child(CALLS[name]) == REFUSE


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_a_foreign_abi_kills(number, arguments):
    assert in_child(number, *arguments, architecture=I386) == KILL
    assert in_child(number | 0x40000000, *arguments) == KILL


@given(st.integers(0, 2**32 - 1))
def test_a_clone_makes_threads_only(flags):
    assert in_child(CALLS["clone"], flags) == (ALLOW if flags & 0x10000 else REFUSE)
    assert in_zygote(CALLS["clone"], flags) == ALLOW


def test_clone3_is_absent_so_that_the_c_library_falls_back():
    assert in_child(435) == ABSENT


@given(st.integers(-(2**31), 2**31 - 1))
def test_signals_and_limits_stay_with_the_process(pid):
    assert in_child(CALLS["kill"], pid, 9) == (ALLOW if pid == OWN_PID else REFUSE)
    assert in_child(CALLS["tgkill"], pid, 1, 9) == (ALLOW if pid == OWN_PID else REFUSE)
    assert in_child(CALLS["prlimit64"], pid, 7) == (ALLOW if pid in {0, OWN_PID} else REFUSE)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (1, 1 | 0o2000000), ALLOW),  # SOCK_CLOEXEC
        ("socketpair", (1, 2), REFUSE),
        ("socketpair", (2, 1), REFUSE),
        ("sendto", (5, 100, 10, 0, 0, 0), ALLOW),
        ("sendto", (5, 100, 10, 0, 0x7F00, 16), REFUSE),
        ("sendto", (5, 100, 10, 0, 0x7F0000000000, 16), REFUSE),
        ("ioctl", (1, 0x5401), ALLOW),
        ("ioctl", (1, 0x5412), REFUSE),  # TIOCSTI types into the caller's terminal
        ("fcntl", (1, 2), ALLOW),
        ("fcntl", (1, 8), REFUSE),
        ("fcntl", (1, 10), REFUSE),
        ("fcntl", (1, 15), REFUSE),
        ("fcntl", (1, 1024), REFUSE),
        ("fcntl", (1, 1026), REFUSE),
        ("fcntl", (1, 1031), REFUSE),
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), REFUSE),
        ("prctl", (38,), REFUSE),
    ],
)
def test_calls_that_depend_on_their_arguments(name, arguments, expected):
    assert in_child(CALLS[name], *arguments) == expected


def test_the_fingerprint_is_stable_within_a_version():
    assert seccomp.fingerprint() == seccomp.fingerprint()
    assert len(seccomp.fingerprint()) == 12
