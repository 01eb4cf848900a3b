"""The filters, run by a small interpreter of classic BPF: what they answer, not how they are written."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.inside import seccomp
from sandbox.inside.kernel import CLONE_NEWNS, MS_BIND, SCRATCH_MOUNT_FLAGS
from sandbox.inside.seccomp import Boundary
from sandbox.inside.syscalls import AARCH64, CLONE3, MOUNT_SETATTR, X86_64, Architecture

I386, ARM = 0x40000003, 0x40000028
ALLOW, REFUSE, ABSENT, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
SEVERITY = [KILL, REFUSE, ABSENT, ALLOW]
OWN_PID = 4321
MACHINES = {"x86-64": X86_64, "aarch64": AARCH64}
BOUNDARIES = [Boundary.FILTER, Boundary.LANDLOCK, Boundary.ROOT]


@pytest.fixture(params=MACHINES.values(), ids=tuple(MACHINES))
def machine(request):
    return request.param


@pytest.fixture(params=BOUNDARIES, ids=lambda boundary: boundary.name.lower())
def boundary(request):
    return request.param


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


@pytest.fixture
def child(machine: Architecture, boundary: Boundary):
    """Answers a program's system call: the kernel runs all filters and takes the strictest answer."""
    programs = seccomp.zygote_filter(boundary, machine), seccomp.child_filter(OWN_PID, boundary, machine)

    def ask(number: int, *arguments: int, identity: int = machine.identity) -> int:
        return min((answer(program, number, arguments, identity) for program in programs), key=SEVERITY.index)

    return ask


@pytest.fixture
def zygote(machine: Architecture, boundary: Boundary):
    """Answers a system call of the zygote, or of a child before it is locked down."""
    program = seccomp.zygote_filter(boundary, machine)

    def ask(number: int, *arguments: int) -> int:
        return answer(program, number, arguments, machine.identity)

    return ask


INSPECTED = {"ioctl", "fcntl", "socketpair", "sendto", "clone", "kill", "tgkill", "prlimit64", "prctl"}
LANDLOCK = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
ZYGOTES_OWN = {"sendmsg", "recvmsg", "pidfd_open", "seccomp"} | LANDLOCK
NAMESPACES = {"mount", "unshare", "capset"}
FILES = set(
    "open openat creat truncate rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat link linkat symlink symlinkat "
    "readlink readlinkat".split()
)
WORDS = st.tuples(*[st.integers(0, 2**64 - 1)] * 6)
# The filters do not change, so one fixture may serve all examples.
kept = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@kept
@given(number=st.integers(0, 0x3FFFFFFF), arguments=WORDS)
def test_what_is_not_on_the_list_is_refused_whatever_its_arguments(child, machine, number, arguments):
    if number not in machine.calls.values() and number != CLONE3:
        assert child(number, *arguments) == REFUSE


def test_what_is_on_the_list_is_allowed(child, machine, boundary):
    refused = INSPECTED | ZYGOTES_OWN | NAMESPACES | (FILES if boundary is Boundary.FILTER else set())
    for name, number in machine.calls.items():
        if name not in refused:
            assert child(number, 1, 2, 3, 4, 5, 6) == ALLOW, name


def test_without_another_boundary_a_program_opens_and_changes_no_file(child, zygote, machine, boundary):
    for name in FILES & machine.calls.keys():
        assert child(machine.calls[name], 1, 2, 3) == (REFUSE if boundary is Boundary.FILTER else ALLOW), name
        assert zygote(machine.calls[name], 1, 2, 3) == ALLOW, name


def test_the_zygotes_own_calls_are_refused_to_programs(child, zygote, machine):
    for name in ZYGOTES_OWN:
        assert zygote(machine.calls[name]) == ALLOW, name
        assert child(machine.calls[name]) == REFUSE, name


def test_only_a_zygote_in_its_own_namespaces_mounts_and_only_scratch_file_systems(child, zygote, machine, boundary):
    mount, unshare, capset = (machine.calls[name] for name in ("mount", "unshare", "capset"))
    allowed = ALLOW if boundary is Boundary.ROOT else REFUSE
    assert zygote(mount, 1, 2, 3, SCRATCH_MOUNT_FLAGS, 4) == allowed
    assert zygote(mount, 1, 2, 3, MS_BIND, 4) == REFUSE
    assert zygote(unshare, CLONE_NEWNS) == allowed
    assert zygote(unshare, CLONE_NEWNS | 0x10000000) == REFUSE
    assert zygote(capset, 1, 2) == allowed
    assert zygote(MOUNT_SETATTR, 1, 2) == REFUSE
    for call in ((mount, 1, 2, 3, SCRATCH_MOUNT_FLAGS, 4), (unshare, CLONE_NEWNS), (capset, 1, 2)):
        assert child(*call) == REFUSE


@kept
@given(number=st.integers(0, 2**32 - 1), arguments=WORDS)
def test_a_foreign_abi_kills(child, machine, number, arguments):
    for foreign in {I386, ARM, X86_64.identity, AARCH64.identity} - {machine.identity}:
        assert child(number, *arguments, identity=foreign) == KILL
    if machine is X86_64:
        assert child(number | 0x40000000, *arguments) == KILL


@kept
@given(flags=st.integers(0, 2**32 - 1))
def test_a_clone_makes_threads_only(child, zygote, machine, flags):
    assert child(machine.calls["clone"], flags) == (ALLOW if flags & 0x10000 else REFUSE)
    assert zygote(machine.calls["clone"], flags) == ALLOW


def test_clone3_is_absent_so_that_the_c_library_falls_back(child):
    assert child(CLONE3) == ABSENT


@kept
@given(pid=st.integers(-(2**31), 2**31 - 1))
def test_signals_and_limits_stay_with_the_process(child, machine, pid):
    assert child(machine.calls["kill"], pid, 9) == (ALLOW if pid == OWN_PID else REFUSE)
    assert child(machine.calls["tgkill"], pid, 1, 9) == (ALLOW if pid == OWN_PID else REFUSE)
    assert child(machine.calls["prlimit64"], pid, 7) == (ALLOW if pid in {0, OWN_PID} else REFUSE)


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
def test_calls_that_depend_on_their_arguments(child, machine, name, arguments, expected):
    assert child(machine.calls[name], *arguments) == expected


def test_fingerprints_tell_filters_apart_and_nothing_else():
    prints = {
        (machine, level): seccomp.fingerprint(level, MACHINES[machine]) for machine in MACHINES for level in BOUNDARIES
    }
    assert len(set(prints.values())) == len(prints)
    assert prints["x86-64", Boundary.LANDLOCK] == seccomp.fingerprint(Boundary.LANDLOCK, X86_64)
    assert all(len(text) == 12 for text in prints.values())


HEADERS = {
    "x86-64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_numbers_are_the_kernels(name):
    if not HEADERS[name].exists():
        pytest.skip("the kernel's headers are not installed")
    # Some names in the generic header stand for a 32-bit and a 64-bit call, of which 64-bit processors have the second.
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[name].read_text()))
    found.setdefault("newfstatat", found.get("fstatat", ""))
    calls = {**MACHINES[name].calls, "clone3": CLONE3, "mount_setattr": MOUNT_SETATTR}
    assert {call: found.get(call) for call in calls} == {call: str(number) for call, number in calls.items()}
