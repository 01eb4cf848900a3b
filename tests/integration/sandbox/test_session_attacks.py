"""Steps that set traps for the steps after them, and programs that look for each other."""

import os
import textwrap
import time
from contextlib import closing

import pytest

from sandbox import Level, Limits, Sandbox, SandboxUnavailable, SessionState, Status
from sandbox.limits import MIB
from tests.integration.sandbox.processes import programs, worker_processes

TIMEOUT_SECONDS = 0.6
OVERRUN_SECONDS = 1.0
FORGED = '{"status": "ok", "exc_type": null, "exc_message": null, "traceback": "", "step": %d, "exit_code": 0, "user_us": 0, "system_us": 0, "max_rss_kb": 0}'

TRAPS = {
    "a report in advance": f"""
        import os
        os.write(3, b'''{FORGED % 2}\\n''')
    """,
    "a report for the next step, written during it": f"""
        import os, threading, time
        def forge():
            time.sleep(0.05)
            os.write(3, b'''{FORGED % 2}\\n''')
        threading.Thread(target=forge).start()
    """,
    "reports without an end": f"""
        import os, threading, time
        def forge():
            time.sleep(0.05)
            os.set_blocking(3, False)
            while True:
                for number in range(10):
                    try: os.write(3, b'''{FORGED % 1}\\n'''.replace(b'"step": 1', b'"step": %d' % number))
                    except OSError: pass
        threading.Thread(target=forge).start()
    """,
    "half a report": "import os\nos.write(3, b'{')",
    "a report that is no text": "import os\nos.write(3, bytes(range(256)))",
    "numbers that are none": """
        import os, threading, time
        def forge():
            time.sleep(0.05)
            os.write(3, b'{"status": "ok", "exc_type": null, "exc_message": null, "traceback": "", "step": 2, '
                        b'"exit_code": 1e999, "user_us": -5, "system_us": NaN, "max_rss_kb": true}\\n')
        threading.Thread(target=forge).start()
    """,
    "somebody else who takes the orders": """
        import os, threading
        threading.Thread(target=lambda: os.read(4, 1000)).start()
    """,
    "orders of its own": """
        import os
        for number in (0, 3, 4, 5):
            try: os.write(os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK), b"x" * 200)
            except OSError: pass
    """,
    "the report closed": "import os\nos.close(3)",
    "the orders closed": "import os\nos.close(4)",
    "the program closed": "import os\nos.close(5)",
    "other things in their places": "import os\nfor number in (3, 4, 5): os.dup2(os.open('file', os.O_CREAT | os.O_RDWR), number)",
    "pipes in each other's places": "import os\nos.dup2(3, 1); os.dup2(2, 3)",
    "all descriptors in use": "kept = []\ntry:\n    while True: kept.append(open('file', 'w'))\nexcept OSError: pass",
    "an exit later": """
        import os, threading, time
        threading.Thread(target=lambda: (time.sleep(0.05), os._exit(0))).start()
    """,
    "a kill later": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.05)",
    "a stop later": """
        import os, signal, threading, time
        threading.Thread(target=lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGSTOP))).start()
    """,
    "a crash later": """
        import ctypes, threading, time
        threading.Thread(target=lambda: (time.sleep(0.05), ctypes.string_at(0))).start()
    """,
    "all signals ignored and blocked": """
        import signal
        for number in range(1, signal.NSIG):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
    """,
    "a handler for being woken": "import os, signal\nsignal.signal(signal.SIGCONT, lambda *_: os._exit(5))",
    "an interrupt in the harness": """
        import signal
        def strike(*_): raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    """,
    "a tracer for whatever comes": """
        import sys
        def trace(*_): raise RuntimeError
        sys.settrace(trace); sys.setprofile(trace)
    """,
    "an audit hook for whatever comes": "import sys\ndef hook(*_): raise RuntimeError\nsys.addaudithook(hook)",
    "a collector's hook": "import gc, os\ngc.callbacks.append(lambda *_: os._exit(1)); gc.set_threshold(1, 1, 1)",
    "no builtins": "import builtins\nvars(builtins).clear()",
    "no modules": "import sys\nsys.modules.clear()",
    "no main": "import sys\ndel sys.modules['__main__']\nglobals().clear()",
    "no streams": "import sys\ndel sys.stdin, sys.stdout, sys.stderr",
    "a stream that hangs": "import sys\nclass S:\n    def write(self, text): pass\n    def flush(self):\n        while True: pass\nsys.stdout = S()",
    "functions that lie": "import json, os\nos.read = os.pread = os.write = json.dumps = lambda *_: b''",
    "a limit too low to live": "import resource, sys\nresource.setrlimit(resource.RLIMIT_AS, (0, 0)); sys.setrecursionlimit(60)",
    "no time left": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (0, resource.RLIM_INFINITY))",
    "code of the harness exchanged": """
        import gc, types
        def nothing(*_, **__): return None
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType) and str(thing.__module__).startswith("sandbox"):
                try: thing.__code__ = nothing.__code__
                except ValueError: continue
    """,
    "the callers' variables": """
        import ctypes, sys
        frame = sys._getframe().f_back
        while frame:
            for name in list(frame.f_locals): frame.f_locals[name] = None
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
            frame = frame.f_back
    """,
    "a directory elsewhere": "import os\nos.mkdir('d'); os.chdir('d'); os.rmdir('../d')",
}
ENDS = set(Status) - {Status.SANDBOX_ERROR, Status.CANCELLED}


@pytest.mark.parametrize("on_error", ["rollback", "keep"])
@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_for_later_steps_harms_its_own_session_only(box, name, on_error):
    with box.session(seed=1, on_error=on_error, timeout=TIMEOUT_SECONDS) as session:
        for code in (textwrap.dedent(TRAPS[name]), "import time; time.sleep(0.2)", "print(1)", "1 / 0", "print(2)"):
            begun = time.monotonic()
            result = session.step(code)
            assert time.monotonic() - begun - result.queue_ms / 1000 < TIMEOUT_SECONDS + OVERRUN_SECONDS
            assert result.status in ENDS, result
            assert isinstance(result.state, SessionState)
    with box.session() as session:
        assert session.step("print(3)").stdout == "3\n"
    assert box.run("print(4)").stdout == "4\n"


def test_memory_that_gathers_over_steps_is_bounded():
    limits = Limits(memory_bytes=64 * MIB)
    with Sandbox(workers=1, preload=(), limits=limits) as sandbox, sandbox.session(on_error="keep") as session:
        session.step("kept = []")
        statuses = [session.step("kept.append(bytearray(20 << 20))").status for _ in range(5)]
    assert statuses[0] is Status.OK
    assert Status.MEMORY_LIMIT in statuses


SEARCH = """
import os
for pid in {pids}:
    attempts = [
        lambda: os.kill(pid, 0),
        lambda: os.readlink(f"/proc/{{pid}}/cwd"),
        lambda: os.listdir(f"/proc/{{pid}}/fd"),
        lambda: open(f"/proc/{{pid}}/mem", "rb"),
        lambda: open(f"/proc/{{pid}}/fd/1"),
        lambda: os.listdir(f"/proc/{{pid}}/root"),
        lambda: os.open(f"/proc/{{pid}}/cwd/secret", os.O_RDONLY),
        lambda: os.pidfd_open(pid),
    ]
    for index, attempt in enumerate(attempts):
        try: attempt()
        except OSError: continue
        print("found", pid, index)
try: print(os.listdir(".."))
except OSError: pass
print("searched")
"""


@pytest.mark.parametrize("level", [Level.CONFINED, Level.NAMESPACED])
def test_programs_and_sessions_do_not_find_each_other(level):
    """Each knows the other's process id, which no program could, and finds nothing of it nevertheless."""
    try:
        sandbox = Sandbox(workers=1, preload=(), min_level=level, max_level=level).start()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    hide = "secret = 'kept'; open('secret', 'w').write(secret)\nimport os; print(os.getpid(), os.getppid())"
    with closing(sandbox), sandbox.session() as one, sandbox.session() as other:
        pids = {int(pid) for session in (one, other) for pid in session.step(hide).stdout.split()}
        outside = {os.getpid(), *worker_processes(os.getpid()), *programs(os.getpid())}
        for session in (one, other):
            own = int(session.step("print(os.getpid())").stdout)
            search = SEARCH.format(pids=sorted((pids | outside) - {own}))
            assert session.step(search, timeout=5).stdout == "searched\n"
        assert sandbox.run(SEARCH.format(pids=sorted(pids | outside)), timeout=5).stdout == "searched\n"
        assert one.step("print(secret, os.listdir('.'))").stdout == "kept ['secret']\n"
