"""Each level as each user: what it is made of, what it promises, and how it gives way on machines that refuse a part of it."""

import errno
import json
import os
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sandbox import Level, Limits, Request, Sandbox, SandboxError, SandboxUnavailable, Status, isolation
from sandbox.inside import landlock
from sandbox.limits import MIB
from sandbox.own_kernel import read_marks
from tests.integration.sandbox.attacks.rows import ROOT, Interpreter, User, interpreter_of
from tests.integration.sandbox.masking import NO_LANDLOCK, NO_NAMESPACES, SUCCESS_WITHOUT_EFFECT, Mask
from tests.integration.sandbox.processes import children, eventually, is_alive, programs, worker_processes

_NOBODY = 65534
CAP_SYS_ADMIN = 1 << 21


def run_as(user: User, script: str, mask: Mask | None = None) -> Any:
    """What a script prints as JSON, run as a user on a machine that refuses some system calls."""
    interpreter = interpreter_of(user)
    if not isinstance(interpreter, Interpreter):
        pytest.skip(interpreter)
    prelude = f"""
        import json, sys
        sys.path[:0] = {[str(ROOT), *interpreter.libraries]!r}
        from sandbox import Limits, Sandbox, SandboxUnavailable
        from tests.integration.sandbox.masking import install
        install({dict(mask or {})!r})

        def attempt(**arguments):
            try:
                with Sandbox(workers=1, preload=(), **arguments) as sandbox:
                    assert sandbox.run("print(6 * 7)").stdout == "42\\n"
                    found = sandbox.isolation
                    return [int(found.level), found.landlock_abi, found.namespaces, found.user_id, *found.shortfalls]
            except SandboxUnavailable as error:
                return str(error)
    """
    as_user: dict[str, Any] = {}
    if user is User.PLAIN and os.getuid() == 0:
        as_user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    done = subprocess.run(
        [interpreter.path, "-c", textwrap.dedent(prelude) + textwrap.dedent(script)],
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **as_user,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def skip_for_want_of(reason: str) -> NoReturn:
    """Skips a test on a machine that lacks something; a level that could be built but does not hold is a bug."""
    if "escape probes" in reason:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def open_at(level: int, **options: Any) -> Iterator[Sandbox]:
    sandbox = Sandbox(workers=1, preload=(), min_level=level, max_level=level, **options)
    try:
        sandbox.start()
    except SandboxUnavailable as error:
        skip_for_want_of(str(error))
    try:
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture(scope="module", params=[Level.CONFINED, Level.NAMESPACED], ids=lambda each: f"L{each:d}")
def with_files(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with open_at(request.param) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def namespaced() -> Iterator[Sandbox]:
    with open_at(Level.NAMESPACED) as sandbox:
        yield sandbox


@pytest.mark.parametrize("user", list(User))
@pytest.mark.parametrize("level", [Level.FILTERED, Level.CONFINED, Level.NAMESPACED], ids=lambda each: f"L{each:d}")
def test_every_level_works_for_every_user(user, level):
    found = run_as(user, f"print(json.dumps(attempt(min_level={level:d}, max_level={level:d})))")
    if isinstance(found, str):
        skip_for_want_of(found)
    abi = landlock.abi_version() if level > Level.FILTERED else 0
    me = 0 if user is User.ROOT else (os.getuid() or _NOBODY)
    assert found[:4] == [level, abi, level is Level.NAMESPACED, me]
    assert found[4:] == (["programs have no files"] if level is Level.FILTERED else [])


def test_at_level_1_programs_compute_with_what_is_preloaded_and_have_no_file():
    with Sandbox(workers=1, min_level=1, max_level=1) as sandbox:
        solved = sandbox.run("from sympy import *\nx = symbols('x')\nprint(solve(x**2 - 5*x + 6, x))")
        assert (solved.status, solved.stdout) == (Status.OK, "[2, 3]\n")
        for program in (
            "open('new', 'w')",
            "import os; os.mkdir('new')",
            "import os; os.listdir('.')",
            "open('/etc/passwd')",
        ):
            assert sandbox.run(program).exc_type == "PermissionError", program
        for arguments in ({"files": {"a": b""}}, {"fetch": ["a"]}):
            with pytest.raises(SandboxError, match="level 1"):
                sandbox.run("", **arguments)
        assert sandbox.run("print(input())", stdin=b"given").stdout == "given\n"


@cache
def whole_machine(user: User) -> list[Any]:
    """What `attempt` finds where nothing is refused."""
    found: list[Any] = run_as(user, "print(json.dumps(attempt(min_level=0, allow_insecure=True)))")
    return found


LANDLOCK_ABSENT = "Landlock version 3 is needed, the kernel offers none"
NOT_PERMITTED = "Operation not permitted"


@pytest.mark.parametrize("user", list(User))
@pytest.mark.parametrize(
    ("mask", "level", "has_landlock", "shortfalls"),
    [
        (NO_LANDLOCK, 3, False, [f"without Landlock: {LANDLOCK_ABSENT}"]),
        (NO_NAMESPACES, 2, True, [f"level 3: no namespaces: [Errno 1] unshare: {NOT_PERMITTED}"]),
        # What AppArmor does on Ubuntu: the namespaces exist, but without privileges in them.
        ({"mount": errno.EPERM}, 2, True, ["level 3: no root directory of our own: [Errno 1] mount"]),
        # What gVisor has instead is enough.
        ({"mount_setattr": errno.ENOSYS}, 3, True, []),
        ({"unshare": SUCCESS_WITHOUT_EFFECT}, 2, True, ["level 3: no namespaces: "]),
        (
            {**NO_LANDLOCK, **NO_NAMESPACES},
            1,
            False,
            ["level 3: no namespaces: ", f"level 2: {LANDLOCK_ABSENT}", "programs have no files"],
        ),
        (
            {"seccomp": errno.EPERM},
            0,
            False,
            [f"level {level}: seccomp filters are refused: [Errno 1] " for level in (3, 2, 1)],
        ),
    ],
    ids=["no Landlock", "Kubernetes", "AppArmor", "gVisor's mounts", "feigned unshare", "old kernel", "no seccomp"],
)
def test_a_machine_gives_the_highest_level_that_it_can(user, mask, level, has_landlock, shortfalls):
    if whole_machine(user)[:3] != [Level.NAMESPACED, landlock.abi_version(), True]:
        pytest.skip("this machine lacks something already")
    found = run_as(user, "print(json.dumps(attempt(min_level=0, allow_insecure=True)))", mask)
    assert isinstance(found, list), found
    assert found[:3] == [level, landlock.abi_version() if has_landlock else 0, level == 3]
    assert len(found[4:]) == len(shortfalls)
    assert all(text.startswith(start) for text, start in zip(found[4:], shortfalls, strict=True)), found[4:]


@pytest.mark.parametrize(
    ("mask", "arguments", "words"),
    [
        ({**NO_LANDLOCK, **NO_NAMESPACES}, "", ["level 2 (confined)", LANDLOCK_ABSENT, "Run on Linux 6.2 or newer"]),
        (
            NO_NAMESPACES,
            "min_level=3",
            ["level 3 (namespaced)", f"unshare: {NOT_PERMITTED}", "user.max_user_namespaces"],
        ),
        ({}, "min_level=4", ["level 4 (own_kernel)", "own_kernel='gvisor'"]),
        (
            {"seccomp": errno.EPERM},
            "min_level=0",
            ["level 0, which confines nothing", "seccomp", "allow_insecure=True"],
        ),
        ({"seccomp": errno.EPERM}, "min_level=1", ["level 1 (filtered)", "seccomp filters are refused"]),
        ({}, "own_kernel='gvisor'", ["no gVisor kernel answers", "SANDBOX_OWN_KERNEL"]),
    ],
)
def test_too_little_is_refused_with_the_reason_and_the_remedy(mask, arguments, words):
    refused = run_as(User.PLAIN, f"print(json.dumps(attempt({arguments})))", mask)
    assert isinstance(refused, str), refused
    assert [word for word in words if word not in refused] == [], refused


@pytest.mark.skipif(read_marks().virtual is not True, reason="the processor does not say that it is virtual")
def test_a_declared_kernel_makes_level_4(monkeypatch):
    monkeypatch.setenv("SANDBOX_OWN_KERNEL", "vm")
    with Sandbox(workers=1, preload=(), min_level=4) as sandbox:
        assert sandbox.isolation.level is Level.OWN_KERNEL
        assert sandbox.run("print(1)").isolation == sandbox.isolation


def test_a_probe_that_gets_through_costs_one_level_not_all(monkeypatch, tmp_path):
    with open_at(Level.NAMESPACED):
        leaky = tmp_path / "probes.py"
    leaky.write_text(
        f"{isolation._PROBE_SOURCE.read_text()}\nhonest = main\n"
        "def main(level, *rest):\n"
        '    if level == 3: print(\'{"through": ["walk through a wall"]}\')\n'
        "    else: honest(level, *rest)\n"
    )
    monkeypatch.setattr(isolation, "_PROBE_SOURCE", leaky)
    with Sandbox(workers=2, preload=()) as sandbox:
        found = sandbox.isolation
        assert found.level is Level.CONFINED
        assert found.shortfalls == ("level 3: these escape probes got through: walk through a wall",)
        results = sandbox.run_batch(["print(1)"] * 8)
        assert all(result.isolation == found for result in results)


def test_without_landlock_level_3_still_hides_and_protects_all_files():
    program = """
        import os, sys
        for path in ("/etc/passwd", "/proc/self/environ", "/dev/null", os.path.expanduser("~root")):
            assert not os.path.exists(path), path
        for make in (lambda: open("/new", "w"), lambda: open(os.__file__, "r+"), lambda: os.rename(os.__file__, "mine")):
            try: make()
            except OSError: continue
            raise SystemExit(f"{make} got through")
        import decimal, sqlite3  # libraries that are loaded late
        open("mine", "w").write("kept")
        tops = {path.split("/")[1] for path in sys.path if path}
        assert set(os.listdir("/")) <= {*tops, "usr", "lib", "lib64", "scratch"}, os.listdir("/")
        print(open("mine").read())
    """
    script = f"""
        with Sandbox(workers=1, preload=(), min_level=3) as sandbox:
            result = sandbox.run({textwrap.dedent(program)!r}, fetch=["mine"])
            print(json.dumps([result.status, result.stdout, result.stderr, result.files["mine"].decode()]))
    """
    for user in User:
        assert run_as(user, script, NO_LANDLOCK) == ["ok", "kept\n", "", "kept"]


@pytest.mark.parametrize("abi", range(landlock.MINIMUM_ABI, landlock.abi_version() + 1))
def test_older_landlock_versions_keep_files_as_well(abi, tmp_path):
    script = f"""
        import os
        from sandbox.inside import kernel, landlock
        os.chdir({str(tmp_path)!r})
        landlock.Rules({abi}, landlock.open_directories(["/usr/lib"])).confine(os.open(".", os.O_PATH))
        open("mine", "w").write("kept")
        closed = 0
        for door in (
            lambda: open("/etc/passwd"),
            lambda: os.listdir("/"),
            lambda: os.truncate({str(tmp_path.parent / "outside")!r}, 0),
            lambda: open("/usr/lib/new", "w"),
            lambda: os.mkfifo("fifo"),
        ):
            try: door()
            except PermissionError: closed += 1
        print(json.dumps([closed, open("mine").read(), bool(os.listdir("/usr/lib"))]))
    """
    (tmp_path.parent / "outside").write_text("kept")
    assert run_as(User.ROOT if os.getuid() == 0 else User.PLAIN, script) == [5, "kept", True]


def test_level_3_shows_nothing_of_this_machine(namespaced):
    result = namespaced.run(
        """
        import os, sys
        here = os.path.abspath(".")
        hidden = ["/etc", "/proc", "/dev", "/sys", "/tmp", "/home", "/var", "/run"]
        # The way to the interpreter's own libraries is there, wherever the project is installed.
        libraries = [sys.prefix, *sys.path]
        seen = [path for path in hidden if os.path.exists(path)]
        assert not [path for path in seen if not any(each.startswith(path + "/") for each in libraries)], seen
        assert os.getppid() == 1 and 1 < os.getpid() < 100_000
        assert os.uname().nodename == "sandbox"
        assert here == os.getcwd() == "/scratch" and os.path.ismount(here)
        open("made", "w").close()
        assert os.path.exists(f"{here}/made")
        print("hidden")
        """.replace("\n        ", "\n")
    )
    assert result.stdout == "hidden\n", result.stderr


def test_level_3_shares_no_namespace_with_us_and_keeps_one_privilege_in_its_own(namespaced):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(namespaced.run, "import time; time.sleep(1)")
        assert eventually(lambda: bool(programs(os.getpid())))
        worker = next(pid for pid in worker_processes(os.getpid()) if children(pid))
        program = children(worker)[0]
        assert eventually(lambda: status(program)["Seccomp_filters"] == "2")
        for kind in ("user", "mnt", "net", "ipc", "uts", "pid"):
            ours, theirs = (Path(f"/proc/{pid}/ns/{kind}").readlink() for pid in ("self", worker))
            assert ours != theirs, kind
        interfaces = [line.split() for line in Path(f"/proc/{worker}/net/dev").read_text().splitlines()[2:]]
        assert [(name, received) for name, received, *_ in interfaces] == [("lo:", "0")]
        assert int(status(worker)["CapPrm"], 16) == CAP_SYS_ADMIN
        assert {status(program)[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert status(program)["NoNewPrivs"] == status(worker)["NoNewPrivs"] == "1"
        ours, theirs = (Path(f"/proc/{pid}/ns/mnt").readlink() for pid in (worker, program))
        assert ours != theirs, "a program shares its mounts with the next one"
        assert running.result().ok


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_level_3_bounds_what_a_program_leaves_behind():
    limits = Limits(scratch_bytes=8 * MIB, scratch_files=50, transfer_bytes=8 * MIB)
    with open_at(Level.NAMESPACED, limits=limits) as sandbox:
        full = sandbox.run("for i in range(100): open(str(i), 'wb').write(bytes(1 << 20)); print(i)")
        assert full.exc_message == "[Errno 28] No space left on device"
        assert full.stdout.split()[-1] == "7"
        crowded = sandbox.run("import os\nfor i in range(100): os.mkdir(str(i)); print(i)")
        assert crowded.exc_message == "[Errno 28] No space left on device: '50'"
        assert sandbox.run("import os; print(os.listdir())").stdout == "[]\n"
        content = os.urandom(3 * MIB)
        kept = sandbox.run("import os; os.rename('in', 'out')", files={"in": content}, fetch=["out"])
        assert kept.files == {"out": content}
        for files in (
            {str(i): b"" for i in range(51)},
            {"a/" * 25 + "b/" * 26 + "c": b""},
            {"a": bytes(8 * MIB), "b": b"1"},
        ):
            with pytest.raises(ValueError, match=r"scratch_files|transfer_bytes"):
                sandbox.run("", files=files)


def test_level_3_gives_memory_back_when_a_program_ends(namespaced):
    def shared_mib() -> float:
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Shmem:"))
        return int(line.split()[1]) / 1024

    before = shared_mib()
    filled = namespaced.run("for i in range(4): open(str(i), 'wb').write(bytes(15 << 20))", timeout=20)
    assert filled.ok, filled.stderr
    assert eventually(lambda: shared_mib() < before + 30), "60 MiB of files outlived their program"


def test_programs_that_run_at_a_time_have_nothing_in_common(with_files):
    program = (
        "import os, time\nopen('mine', 'w').write('{0}')\ntime.sleep(0.5)\nprint(os.listdir(), open('mine').read())"
    )
    results = with_files.run_batch([program.format(i) for i in range(4)])
    assert [result.stdout for result in results] == [f"['mine'] {i}\n" for i in range(4)]


def test_files_reach_children_that_were_made_ahead(with_files):
    with open_at(with_files.isolation.level, spare_children=2) as sandbox:
        request = Request(
            "import helper; print(helper.x + open('d/in').read())", files={"helper.py": b"x = 'a'", "d/in": b"b"}
        )
        assert [result.stdout for result in sandbox.run_batch([request] * 6)] == ["ab\n"] * 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_ends_with_the_process_that_waits_for_it(number):
    with open_at(Level.NAMESPACED) as sandbox, ThreadPoolExecutor(1) as pool:
        before = worker_processes(os.getpid())
        running = pool.submit(sandbox.run, "import time; time.sleep(1); print('done')", timeout=10)
        assert eventually(lambda: bool(programs(os.getpid())))
        (worker,) = [pid for pid in worker_processes(os.getpid()) if pid in before and children(pid)]
        victims = [worker, *children(worker)]
        waiting = int(status(worker)["PPid"])
        assert waiting != os.getpid()
        os.kill(waiting, number)
        assert eventually(lambda: not any(is_alive(pid) for pid in [waiting, *victims]))
        assert running.result(timeout=30).stdout == "done\n"
        assert running.result().attempt == 2
