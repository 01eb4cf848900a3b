"""Steps that turn against their session's own machinery: the worst they can do is to lose their own state."""

import textwrap
import time

import pytest

from sandbox import SessionState, Status

SABOTAGE = {
    "forges a report and runs on": """
        import json, os, time
        os.write(3, json.dumps({"step": 2, "status": "ok", "exc_type": None, "exc_message": None, "traceback": "",
            "exit_code": 0, "user_us": 0, "system_us": 0, "max_rss_kb": 0}).encode() + b"\\n")
        time.sleep(60)
    """,
    "writes garbage": "import os; os.write(3, b'garbage\\n')",
    "writes half a line": "import os; os.write(3, b'{')",
    "writes endless garbage": """
        import os
        while True:
            try: os.write(3, b'x' * 1000)
            except BlockingIOError: pass
    """,
    "writes deep JSON": "import os; os.write(3, b'[' * 30000 + b'\\n')",
    "writes a huge number": "import os; os.write(3, b'{\"step\": ' + b'9' * 30000 + b'}\\n')",
    "closes the report": "import os; os.close(3)",
    "closes everything": "import os; os.closerange(0, 256)",
    "closes its outputs": "import os; os.close(1); os.close(2)",
    "reads the orders": "import os; os.read(4, 21)",
    "fills the orders": "import os; os.write(4, b'x' * 21)",
    "overwrites the program": "import os; os.pwrite(5, b'boom', 0)",
    "appends to the program": "import fcntl, os; fcntl.fcntl(5, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK)",
    "seals the program": "import fcntl; fcntl.fcntl(5, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)",
    "maps the program": "import mmap; mmap.mmap(5, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)[:4] = b'boom'",
    "replaces builtins": """
        import builtins
        for name in ("len", "round", "compile", "exec", "isinstance", "getattr", "BaseException", "dict"):
            setattr(builtins, name, None)
    """,
    "replaces modules": """
        import sys
        for name in list(sys.modules):
            if name not in ("builtins", "sys"): sys.modules[name] = None
    """,
    "empties the harness": """
        import sys
        frame = sys._getframe()
        while frame.f_back is not None: frame = frame.f_back; frame.f_globals.clear()
    """,
    "patches the harness": """
        import sys
        child = sys.modules["sandbox.inside.child"]
        for name in ("_run", "_seed", "_grant_cpu_time", "_describe", "_flusher"): setattr(child, name, None)
    """,
    "replaces the namespace": "import sys, types; sys.modules['__main__'] = types.ModuleType('__main__')",
    "traces quietly": "import sys, threading\ndef t(*_): return t\nsys.settrace(t)",
    "no recursion": "import sys; sys.setrecursionlimit(20)",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "prints in a thread": """
        import threading
        def flood():
            while True: print("x" * 1000, flush=True)
        threading.Thread(target=flood, daemon=True).start()
    """,
    "writes raw in a thread": """
        import os, threading
        def flood():
            while True: os.write(1, b"x" * 60000)
        threading.Thread(target=flood, daemon=True).start()
    """,
    "does not block": "import fcntl, os; fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK); print('x' * 500_000)",
    "leaves a looping destructor": "class D:\n    def __del__(self):\n        while True: pass\nd = D()",
    "raises what cannot be shown": """
        class E(Exception):
            def __str__(self):
                while True: pass
        raise E
    """,
    "leaves at exit": "import atexit, time; atexit.register(time.sleep, 60)",
    "lowers its own limits": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
    "collects": "import gc; gc.disable(); gc.collect(); gc.set_debug(gc.DEBUG_LEAK)",
}
TIMEOUT = 1.0
DEFINED = {Status.OK, Status.RUNTIME_ERROR, Status.EXIT, Status.CRASH, Status.TIMEOUT, Status.OUTPUT_LIMIT}


def dedented(code: str) -> str:
    return textwrap.dedent(code).strip() + "\n"


@pytest.mark.parametrize("on_error", ["rollback", "keep"])
@pytest.mark.parametrize("name", SABOTAGE)
def test_sabotage_harms_nobody_else_and_ends_in_time(box, name, on_error):
    with box.session(on_error=on_error, timeout=TIMEOUT) as session, box.session() as neighbour:
        neighbour.step("x = 1")
        session.step("before = 1")
        for code in (dedented(SABOTAGE[name]), "print(before)", "print(2)", "print(3)"):
            begun = time.monotonic()
            result = session.step(code)
            assert time.monotonic() - begun - result.queue_ms / 1000 < TIMEOUT + 1, result
            assert result.status in DEFINED, result
            for text in (result.stdout, result.stderr, result.traceback):
                assert text == text.encode("utf-8").decode()
        session.reset()
        assert session.step("print('before' in globals())").stdout == "False\n"
        assert neighbour.step("print(x)").stdout == "1\n"
    assert box.run("print(1)").stdout == "1\n"


@pytest.mark.parametrize(
    "name",
    ["writes garbage", "writes half a line", "writes endless garbage", "closes the report"],
)
def test_a_spoilt_report_pipe_is_noticed_at_once_and_told(box, name):
    with box.session(timeout=60) as session:
        session.step("x = 1")
        begun = time.monotonic()
        result = session.step(dedented(SABOTAGE[name]))
        assert time.monotonic() - begun < 30
        assert (result.status, result.state) == (Status.CRASH, SessionState.REBUILT)
        assert "report pipe" in str(result.exc_message)
        assert session.step("print(x)").stdout == "1\n"


@pytest.mark.parametrize("name", ["overwrites the program", "seals the program", "maps the program"])
def test_the_program_file_is_out_of_reach(box, name):
    with box.session() as session:
        assert session.step(dedented(SABOTAGE[name])).exc_type in ("OSError", "PermissionError")


def test_appending_to_the_program_file_changes_nothing_for_the_session(box):
    with box.session() as session:
        session.step(dedented(SABOTAGE["appends to the program"]))
        assert [session.step(f"print({number})").stdout for number in range(3)] == ["0\n", "1\n", "2\n"]


def test_a_report_of_the_wrong_step_is_not_believed(box):
    """The first step's true report arrives when the second one's is due."""
    with box.session(on_error="keep", timeout=5) as session:
        code = dedented(SABOTAGE["forges a report and runs on"]).replace('"step": 2', '"step": 1').replace("60", "0.3")
        assert session.step(code).status is Status.OK
        result = session.step("print('second')")
        assert (result.status, result.state) == (Status.CRASH, SessionState.LOST)
        assert "report pipe" in str(result.exc_message)


def test_a_process_that_cannot_take_orders_dies_at_once(box):
    """It stands still between steps, and has to be woken to find out that nobody can talk to it any more."""
    with box.session(on_error="keep", timeout=60) as session:
        session.step("import os; os.close(4)")
        begun = time.monotonic()
        result = session.step("print(1)")
        assert time.monotonic() - begun < 30
        assert (result.status, result.state) == (Status.EXIT, SessionState.LOST)
