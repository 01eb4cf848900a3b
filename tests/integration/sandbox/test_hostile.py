"""Programs that hang, flood, crash, lie or try to get out. Each is followed by an honest one."""

import os
import signal
import socket
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox, Status

OVERRUN_SECONDS = 1.0  # what every call promises, on a machine as loaded as it may be
LIMIT_SECONDS = 0.6


@pytest.fixture(autouse=True)
def _the_next_program_runs(box: Sandbox) -> Iterator[None]:
    yield
    assert box.run("print(1)").stdout == "1\n"


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file of this user that must stay as it is."""
    path = tmp_path / "canary"
    path.write_text("untouched")
    path.chmod(0o640)
    before = path.stat()
    yield path
    after = path.stat()
    assert path.read_text() == "untouched"
    assert (before.st_mode, before.st_mtime_ns, before.st_uid, before.st_nlink) == (
        after.st_mode,
        after.st_mtime_ns,
        after.st_uid,
        after.st_nlink,
    )


HANGING = {
    "loop": "while True: pass",
    "loop that catches everything": "while True:\n try:\n  while True: pass\n except BaseException: pass",
    "one long C call": "x = 7 ** 7 ** 8; print(10 ** (10 ** 8) % 7)",
    "sleep": "import time; time.sleep(1000)",
    "signals ignored": """
        import signal
        for number in range(1, 32):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: pass
    """,
    "exception text that never comes": """
        class Endless(Exception):
            def __str__(self):
                while True: pass
        raise Endless
    """,
    "outputs closed": "import os\nos.closerange(0, 256)\nwhile True: pass",
    "stopped": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("name", HANGING)
def test_a_program_that_does_not_end_is_ended(box, name):
    started = time.monotonic()
    result = box.run(textwrap.dedent(HANGING[name]), timeout=LIMIT_SECONDS)
    assert time.monotonic() - started < LIMIT_SECONDS + OVERRUN_SECONDS
    assert result.status is Status.TIMEOUT
    assert (result.exit_code, result.signal) in {(None, signal.SIGKILL), (None, signal.SIGXCPU)}


def test_output_before_a_timeout_is_kept(box):
    result = box.run("print('early', flush=True)\nwhile True: pass", timeout=0.5)
    assert (result.status, result.stdout) == (Status.TIMEOUT, "early\n")


ENDING_AT_ONCE = {
    "atexit that sleeps": ("import atexit, time; atexit.register(time.sleep, 100); print(1)", "1\n"),
    "endless destructor": ("class D:\n def __del__(self):\n  while True: pass\nd = D()\nprint(1)", "1\n"),
    "endless thread": (
        "import threading\ndef f():\n while True: pass\nthreading.Thread(target=f).start()\nprint(1)",
        "1\n",
    ),
    "stdout closed": ("import sys; print(1); sys.stdout.flush(); sys.stdout.close()", "1\n"),
    "stdout replaced": ("import sys; print(1); sys.stdout = None", "1\n"),
    "descriptors closed": ("import os; os.closerange(0, 256)", ""),
    "exit replaced": ("import os; os._exit = os.write = os.read = lambda *a: None; print(1)", "1\n"),
}


@pytest.mark.parametrize("name", ENDING_AT_ONCE)
def test_what_a_program_leaves_running_does_not_delay_its_result(box, name):
    source, output = ENDING_AT_ONCE[name]
    result = box.run(source, timeout=20)
    assert (result.status, result.stdout) == (Status.OK, output)
    assert result.wall_ms < 10_000


def test_a_program_that_breaks_everything_it_can_reach_ends_nevertheless(box):
    result = box.run(
        textwrap.dedent("""
            import builtins, gc, io, json, os, struct, sys, traceback
            for module in (os, sys, struct, io, json, traceback, builtins):
                for name in list(vars(module)):
                    if name not in ("module", "name", "vars", "list", "setattr"):
                        try: setattr(module, name, None)
                        except BaseException: pass
        """),
        timeout=5,
    )
    assert result.status in {Status.OK, Status.EXIT, Status.RUNTIME_ERROR, Status.CRASH}


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("import os; os.abort()", signal.SIGABRT),
        ("import ctypes; ctypes.string_at(0)", signal.SIGSEGV),
        ("import os; os.kill(os.getpid(), 9)", signal.SIGKILL),
        ("import signal, time; signal.alarm(1); time.sleep(3)", signal.SIGALRM),
        ("import ctypes; ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39))", signal.SIGSYS),
    ],
)
def test_a_deadly_signal_is_a_crash(box, source, number):
    result = box.run(source)
    assert (result.status, result.signal, result.exit_code) == (Status.CRASH, number, None)


@pytest.mark.parametrize(
    "source",
    [
        "x = [0] * 10**10",
        "x = bytearray()\nwhile True: x += bytes(1 << 20)",
        "x = []\nwhile True: x.append(' ' * 1_000_000)",
        "import numpy; numpy.ones(10**10)",
        "import mmap\nx = [mmap.mmap(-1, 1 << 24) for _ in range(1000)]",
    ],
)
def test_memory_is_bounded(box, source):
    result = box.run(source, timeout=10)
    memory_error = result.status is Status.MEMORY_LIMIT
    refused_map = result.status is Status.RUNTIME_ERROR and "Cannot allocate memory" in result.stderr
    assert memory_error or refused_map, result
    assert result.max_rss_kb < 1_000_000


@pytest.mark.parametrize(
    "source",
    [
        "while True: print('x' * 1000)",
        "print('x' * 100_000_000)",
        "import sys\nwhile True: sys.stderr.write('y' * 1000)",
    ],
)
def test_a_flood_is_cut_off(box, source):
    result = box.run(source, timeout=20)
    assert (result.status, result.truncated) == (Status.OUTPUT_LIMIT, True)
    assert 60_000 < len(result.stdout) + len(result.stderr) < 70_000


def test_garbage_and_forgery_on_every_descriptor_harm_nobody(box):
    garbage = box.run(
        "import os\nfor fd in range(64):\n try: os.write(fd, os.urandom(5000))\n except OSError: pass\nos._exit(0)"
    )
    assert garbage.status is Status.OK
    forged = box.run(
        'import os\nos.write(3, b\'{"status": "ok", "exc_type": null, "exc_message": null, "traceback": ""}\')\nos._exit(4)'
    )
    assert (forged.status, forged.exit_code) == (Status.EXIT, 4)
    flooded = box.run(
        "import os\nos.set_blocking(3, False)\ntry:\n while True: os.write(3, b'x' * 4096)\nexcept OSError: pass"
    )
    assert flooded.status is Status.OK


def test_an_exception_whose_text_raises_is_reported(box):
    result = box.run("class E(Exception):\n def __str__(self): raise ValueError\nraise E")
    assert result.status is Status.RUNTIME_ERROR
    assert result.exc_type == "E"


@pytest.mark.parametrize(
    "source", ["def f(x):\n return repr(x)\nx = []\nfor _ in range(100_000): x = [x]\nf(x)", "-" * 200_000 + "1"]
)
def test_deep_recursion_has_a_defined_end(box, source):
    result = box.run(source, timeout=5)
    assert result.status in {
        Status.RUNTIME_ERROR,
        Status.SYNTAX_ERROR,
        Status.CRASH,
        Status.TIMEOUT,
        Status.MEMORY_LIMIT,
    }


DENIED = {
    "fork": "os.fork()",
    "fork in C": "raw(57)",
    "vfork": "raw(58)",
    "clone": "raw(56, 17, 0, 0, 0, 0)",
    "subprocess": "subprocess.run(['/bin/true'])",
    "multiprocessing": "multiprocessing.get_context('fork').Process(target=print).start()",
    "exec": "os.execv('/bin/true', ['true'])",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "daemon": "os.setsid()",
    "tcp": "socket.create_connection(('127.0.0.1', port), 1)",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "dns": "socket.getaddrinfo('localhost', 80, 0, socket.SOCK_STREAM)[5]",
    "abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0nobody')",
    "datagram pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "io_uring": "raw(425, 1, 0)",
    "memfd": "os.memfd_create('x')",
    "signal the parent": "os.kill(os.getppid(), 0)",
    "signal all": "os.kill(-1, 0)",
    "signal the group": "os.kill(0, 9)",
    "signal the supervisor": "os.kill(supervisor, 0)",
    "signal by descriptor": "fcntl.fcntl(1, fcntl.F_SETOWN, supervisor)",
    "pidfd": "os.pidfd_open(supervisor)",
    "ptrace": "raw(101, 16, supervisor, 0, 0)",
    "read memory": "raw(310, supervisor, 0, 0, 0, 0, 0)",
    "write memory": "raw(311, supervisor, 0, 0, 0, 0, 0)",
    "parent's environment": "open(f'/proc/{os.getppid()}/environ')",
    "supervisor's environment": "open(f'/proc/{supervisor}/environ')",
    "own memory": "open('/proc/self/mem')",
    "canary read": "open(canary)",
    "canary append": "open(canary, 'a')",
    "canary truncate": "os.truncate(canary, 0)",
    "canary delete": "os.unlink(canary)",
    "canary rename": "os.rename(canary, 'stolen')",
    "canary hard link": "os.link(canary, 'link')",
    "canary through a symlink": "os.symlink(canary, 'link'); open('link')",
    "canary through ..": "open('../' * 20 + canary)",
    "canary mode": "os.chmod(canary, 0o777)",
    "canary owner": "os.chown(canary, 1, 1)",
    "canary times": "os.utime(canary, (0, 0))",
    "canary attribute": "os.setxattr(canary, 'user.x', b'1')",
    "list the parent directory": "os.listdir('..')",
    "write to a library": "open(os.__file__, 'a')",
    "mount": "raw(165, 0, 0, 0, 0, 0)",
    "unshare": "raw(272, 0x10000000)",
    "chroot": "os.chroot('.')",
    "keyctl": "raw(250, 0, 0, 0, 0, 0)",
    "bpf": "raw(321, 0, 0, 0)",
    "perf": "raw(298, 0, 0, -1, -1, 0)",
    "userfaultfd": "raw(323, 0)",
    "reboot": "raw(169, 0, 0, 0, 0)",
    "loosen the lock-down": "raw(444, 0, 0, 1)",
    "another filter": "raw(317, 1, 0, 0)",
    "live on without the zygote": "raw(157, 1, 0, 0, 0, 0)",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (65, 65))",
    "another process's limit": "resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (9, 9))",
    "become root": "os.setuid(0)",
    "a file too large": "open('big', 'wb').truncate(1 << 30)",
    "too many files": "[open('f%d' % i, 'w') for i in range(100)]",
    "control socket": "[socket.socket(fileno=fd).send(b'x') for fd in range(4, 64)]",
}

ATTEMPT = """
import ctypes, errno, fcntl, multiprocessing, os, resource, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def raw(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments)) == -1:
        raise OSError(ctypes.get_errno(), "refused")
canary, port, supervisor, parent = {canary!r}, {port}, {supervisor}, os.getpid()
try:
    {attempt}
except (OSError, ValueError):
    print("denied")
else:
    if os.getpid() == parent:
        print("got through")
"""


@pytest.mark.parametrize("name", DENIED)
def test_a_way_out_is_closed(box, canary, name):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        source = ATTEMPT.format(canary=str(canary), port=port, supervisor=os.getpid(), attempt=DENIED[name])
        result = box.run(source)
        assert (result.status, result.stdout) == (Status.OK, "denied\n"), result
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_fork_bomb_is_a_loop_of_refusals(box):
    result = box.run("import os\nwhile True:\n try: os.fork()\n except OSError: pass", timeout=0.5)
    assert result.status is Status.TIMEOUT


def test_threads_are_bounded_by_memory(box):
    source = "import threading, time\nfor _ in range(20_000): threading.Thread(target=time.sleep, args=(60,)).start()"
    result = box.run(source, timeout=3)
    assert result.status in {Status.RUNTIME_ERROR, Status.MEMORY_LIMIT, Status.TIMEOUT}


def test_a_tree_that_is_hard_to_remove_is_removed(box):
    result = box.run(
        textwrap.dedent("""
            import os
            for i in range(300): open(f"file {i}\\n", "w").close()
            os.mkdir("locked", mode=0)
            os.symlink("/", "root")
            for _ in range(100):
                os.mkdir("deeper")
                os.chdir("deeper")
            print(len(os.listdir(".")))
        """),
        timeout=20,
    )
    assert (result.status, result.stdout) == (Status.OK, "0\n"), result
