"""What a session's steps may use, which files they have, and what is refused."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox, SandboxError, SessionState, Status
from sandbox.limits import MIB
from tests.integration.sandbox.processes import AT_WORK, at_work, eventually, programs

ME = os.getpid()


@pytest.fixture
def session(box):
    with box.session(seed=7) as session:
        yield session


# Limits.


def test_the_cpu_limit_counts_each_step_for_itself(box):
    """Nine steps of half a second each have 4.5 s together, where one alone may have 3 s and a moment."""
    busy = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.5: pass"
    with box.session(timeout=3) as session:
        assert [session.step(busy).status for _ in range(9)] == [Status.OK] * 9


def test_threads_left_behind_stand_still_between_steps(session):
    session.step("import threading, time\nn = 0\ndef count():\n    global n\n    while True: n += 1")
    session.step("threading.Thread(target=count, daemon=True).start(); time.sleep(0.1)")
    before = int(session.step("print(n)").stdout)
    (pid,) = programs(ME)

    def state_and_ticks() -> tuple[str, str]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[11]

    assert eventually(lambda: state_and_ticks()[0] == "T")
    stopped = state_and_ticks()
    time.sleep(0.3)
    assert state_and_ticks() == stopped
    assert int(session.step("print(n)").stdout) > before > 0


def test_what_threads_print_belongs_to_the_step_in_which_they_print(session):
    session.step(
        "import threading, time\ndef speak():\n    while True:\n        print('t', flush=True); time.sleep(0.01)"
    )
    session.step("threading.Thread(target=speak, daemon=True).start()")
    time.sleep(0.3)
    result = session.step("began = time.monotonic(); time.sleep(0.3); print('me', time.monotonic() - began)")
    seconds = float(result.stdout.partition("me ")[2].split()[0])
    assert 0 < result.stdout.count("t") < seconds / 0.01 + 5, "nothing was printed between the steps"


def test_more_threads_than_the_limit_end_the_step(box):
    code = "import threading, time\nthreading.stack_size(32768)\nfor _ in range(40): threading.Thread(target=time.sleep, args=(30,)).start()\ntime.sleep(1)"
    with Sandbox(workers=1, preload=(), limits=Limits(threads=20)) as sandbox, sandbox.session() as session:
        result = session.step(code)
        assert (result.status, result.state) == (Status.MEMORY_LIMIT, SessionState.REBUILT)


def test_threads_that_gather_over_short_steps_are_counted_too(box):
    code = "import threading, time\nthreading.stack_size(32768)\nfor _ in range(8): threading.Thread(target=time.sleep, args=(30,)).start()"
    with Sandbox(workers=1, preload=(), limits=Limits(threads=20)) as sandbox, sandbox.session() as session:
        seen = []
        for _ in range(6):
            seen.append(session.step(code).status)
            time.sleep(0.11)
    assert seen[:2] == [Status.OK] * 2
    assert Status.MEMORY_LIMIT in seen


# Files.


def test_files_last_over_steps_and_can_be_fetched(box):
    with box.session(files={"in/a": b"1"}) as session:
        session.step("text = open('in/a').read() + '2'; open('out', 'w').write(text)")
        result = session.step("open('out', 'a').write('3')", fetch=["out", "absent"])
        assert result.files == {"out": b"123"}
        assert set(result.files_refused) == {"absent"}
        failed = session.step("open('log', 'w').write('so far'); 1 / 0", fetch=["log", "out"])
        assert failed.files == {"log": b"so far", "out": b"123"}
        assert session.step("import os; print(sorted(os.listdir('.')))").stdout == "['in', 'out']\n"
        ended = session.step("import os; os._exit(1)", fetch=["out"])
        assert set(ended.files_refused) == {"out"}


def test_a_session_cannot_have_another_file_fetched(box, tmp_path):
    (tmp_path / "secret").write_text("secret")
    with box.session() as session:
        code = f"import os\nos.symlink({str(tmp_path / 'secret')!r}, 'out')\nos.mkdir('d')\nos.symlink('/', 'r')"
        result = session.step(code, fetch=["out", "d", f"r{tmp_path}/secret"])
        assert result.ok, result.stderr
        assert result.files == {}


# Bad use.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"timeout": 61}, "timeout"),
        ({"on_error": "ignore"}, "on_error"),
        ({"max_replayed_steps": -1}, "max_replayed_steps"),
        ({"max_replay_seconds": 0}, "max_replay_seconds"),
        ({"open_timeout": float("inf")}, "open_timeout"),
        ({"files": {"../x": b""}}, "relative path"),
        ({"files": {"x": bytes(17 * MIB)}}, "bytes"),
    ],
)
def test_bad_options_are_refused_at_once(box, arguments, message):
    with pytest.raises(ValueError, match=message):
        box.session(**arguments)


def test_a_budget_too_small_for_sessions_is_refused():
    with (
        Sandbox(
            workers=1, preload=(), memory_budget=100 * MIB, limits=Limits(memory_bytes=48 * MIB, scratch_bytes=16 * MIB)
        ) as sandbox,
        pytest.raises(ValueError, match="memory_budget"),
    ):
        sandbox.session()


def test_bad_steps_are_refused_and_harm_nothing(session):
    session.step("x = 1")
    for arguments, error in (
        ({"code": 1}, TypeError),
        ({"code": "", "timeout": 0}, ValueError),
        ({"code": "", "fetch": ["/etc/passwd"]}, ValueError),
        ({"code": "", "fetch": "out"}, TypeError),
    ):
        with pytest.raises(error):
            session.step(**arguments)
    assert session.step("print(x)").stdout == "1\n"


def test_a_session_is_used_in_a_with_block_and_once(box):
    session = box.session()
    with pytest.raises(SandboxError, match="not open"):
        session.step("")
    with session:
        assert session.step("print(1)").ok
    with pytest.raises(SandboxError, match="closed"):
        session.step("")
    with pytest.raises(SandboxError, match="once"):
        session.__enter__()
    session.close()
    session.close()


def test_one_step_at_a_time(session):
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(session.step, f"{AT_WORK}import time; time.sleep(0.7); x = 1")
        assert eventually(lambda: bool(at_work(ME)))
        with pytest.raises(SandboxError, match="one at a time"):
            session.step("")
        with pytest.raises(SandboxError, match="one at a time"):
            session.reset()
        assert running.result().ok
    assert session.step("print(x)").stdout == "1\n"
