"""``thor sandbox`` as a person or a script uses it: a process of its own, its streams, its code."""

import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sandbox import Isolation, Result
from tests.integration.sandbox.processes import children, eventually, is_alive, programs

THOR = [sys.executable, "-m", "thor_ray.cli", "sandbox"]
ENVIRONMENT = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}


def thor(place: Path, *arguments: str, standard_input: bytes = b"") -> tuple[int, bytes, str]:
    """Runs ``thor sandbox`` in a directory: code, standard output, standard error."""
    done = subprocess.run(
        [*THOR, *arguments],
        cwd=place,
        env=ENVIRONMENT,
        input=standard_input,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def run(place: Path, program: str, *arguments: str) -> tuple[int, bytes, str]:
    return thor(place, "run", "-", *arguments, standard_input=program.encode())


def run_as_json(place: Path, program: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = run(place, program, "--json", *arguments)
    assert err == ""
    return code, json.loads(out)


def test_streams_pass_through_and_one_line_says_how_it_went(tmp_path):
    (tmp_path / "program.py").write_text(
        "import sys\nprint('é', end='')\nprint('oops', file=sys.stderr)\n", "utf-8-sig"
    )
    code, out, err = thor(tmp_path, "run", "program.py")
    assert (code, out) == (0, "é".encode())
    first, last = err.splitlines()
    assert first == "oops"
    assert re.fullmatch(r"ok in \d+ ms at level [2-4] \(\w+\)", last)


@pytest.mark.parametrize(
    ("program", "arguments", "status", "words"),
    [
        ("1 / 0", (), "runtime_error", "ZeroDivisionError: division by zero"),
        ("int a = 1", (), "syntax_error", "SyntaxError"),
        ("raise SystemExit(3)", (), "exit", "exit in"),
        ("while True: pass", ("--timeout", "0.5"), "timeout", "timeout in 5"),
        ("x = bytearray(64 << 20)", ("--memory", "32"), "memory_limit", "MemoryError"),
        ("while True: print('x' * 1000)", (), "output_limit", "output cut"),
    ],
)
def test_only_a_program_without_an_error_gives_code_0(tmp_path, program, arguments, status, words):
    code, _, err = run(tmp_path, program, *arguments)
    assert code == 1
    assert err.splitlines()[-1].startswith(f"{status} in ")
    assert words in err
    code, result = run_as_json(tmp_path, program, *arguments)
    assert (code, result["status"]) == (1, status)


def test_json_has_every_field_of_a_result(tmp_path):
    code, result = run_as_json(tmp_path, "import random; print(random.random())", "--seed", "7")
    assert code == 0
    assert set(result) == {field.name for field in fields(Result)}
    assert set(result["isolation"]) == {field.name for field in fields(Isolation)}
    assert (result["status"], result["seed"]) == ("ok", 7)
    assert result["isolation"]["level"] >= 2
    assert (
        run_as_json(tmp_path, "import random; print(random.random())", "--seed", "7")[1]["stdout"] == result["stdout"]
    )


def test_files_and_input_go_in_and_files_come_out(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"1,2\n")
    (tmp_path / "numbers").write_bytes(b"3\n")
    program = "import os; os.mkdir('out'); open('out/sum', 'w').write(input() + open('a.csv').read() + open('table.csv').read())"
    given = ("--file", "table.csv", "--file", "a.csv=table.csv", "--stdin", "numbers", "--fetch", "out/sum")
    code, _, err = run(tmp_path, program, *given)
    assert code == 0, err
    assert (tmp_path / "out/sum").read_bytes() == b"31,2\n1,2\n"
    code, result = run_as_json(tmp_path, program, *given)
    assert (code, b64decode(result["files"]["out/sum"])) == (0, b"31,2\n1,2\n")


def test_what_was_not_fetched_is_named_and_is_no_success(tmp_path):
    code, _, err = run(tmp_path, "print(1)", "--fetch", "absent")
    assert code == 1
    assert "absent was not fetched: No such file" in err
    code, result = run_as_json(tmp_path, "print(1)", "--fetch", "absent")
    assert (code, result["status"]) == (1, "ok")


def test_our_standard_input_can_be_the_program_s(tmp_path):
    (tmp_path / "program.py").write_text("print(input()[::-1])")
    code, out, _ = thor(tmp_path, "run", "program.py", "--stdin", "-", standard_input=b"abc\n")
    assert (code, out) == (0, b"cba\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "absent.py"), "absent.py cannot be read: No such file"),
        (("run", "."), ". cannot be read: Is a directory"),
        (("run", "latin1.py"), "latin1.py is not UTF-8: invalid continuation byte at byte 1"),
        (("run", "ok.py", "--timeout", "0"), "timeout is 0.0; it must be above 0 and at most 60 seconds"),
        (("run", "ok.py", "--timeout", "61"), "at most 60 seconds"),
        (("run", "ok.py", "--timeout", "soon"), "--timeout"),
        (("run", "ok.py", "--seed", "-1"), "seed is -1"),
        (("run", "ok.py", "--memory", "0"), "--memory"),
        (("run", "ok.py", "--memory", "99999999"), "memory_budget"),
        (("run", "ok.py", "--min-level", "9"), "min_level is 9"),
        (("run", "ok.py", "--min-level", "3", "--max-level", "2"), "above max_level"),
        (("run", "ok.py", "--file", "../up=ok.py"), "'../up'"),
        (("run", "ok.py", "--file", "absent"), "absent cannot be read"),
        (("run", "ok.py", "--file", "large"), "files and input have 17825792 bytes"),
        (("run", "ok.py", "--fetch", "/etc/passwd"), "'/etc/passwd'"),
        (("run", "ok.py", "--stdin", "absent"), "absent cannot be read"),
        (("run", "-", "--stdin", "-"), "standard input cannot be both"),
        (("serve", "--host", "0.0.0.0"), "needs a token: set THOR_SANDBOX_TOKEN"),
        (("serve", "--host", "203.0.113.7", "--token", "t"), "port 8080 of 203.0.113.7 cannot be listened on"),
        (("serve", "--port", "70000"), "the port is 70000"),
        (("serve", "--queue", "0"), "max_requests is 0"),
        (("serve", "--workers", "0"), "workers is 0"),
        (("serve", "--token", ""), "the token cannot be used"),
    ],
)
def test_bad_input_is_refused_with_code_2(tmp_path, arguments, words):
    (tmp_path / "ok.py").write_text("print(1)")
    (tmp_path / "latin1.py").write_bytes(b"#\xe9\n")
    (tmp_path / "large").write_bytes(bytes(17 << 20))
    code, out, err = thor(tmp_path, *arguments)
    assert (code, out) == (2, b"")
    assert words in err
    assert "Traceback" not in err


def test_check_says_what_level_there_is_and_what_was_tried(tmp_path):
    code, out, err = thor(tmp_path, "check")
    assert (code, err) == (0, "")
    assert re.search(rb"level +[2-4] \(\w+\)", out)
    assert re.search(rb"held +connect by TCP", out)
    code, out, _ = thor(tmp_path, "check", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["suffices"] is True
    assert found["level"] >= 2
    assert {field.name for field in fields(Isolation)} < set(found)
    assert len(found["escapes"]) > 10
    assert not any(found["escapes"].values())


def on_a_kernel_without_landlock(*arguments: str) -> "subprocess.CompletedProcess[str]":
    script = (
        "from tests.integration.sandbox.masking import NO_LANDLOCK, NO_NAMESPACES, install; "
        f"install(NO_LANDLOCK | NO_NAMESPACES); from thor_ray.cli import main; main({['sandbox', *arguments]!r})"
    )
    command = [sys.executable, "-c", script]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_machine_that_confines_too_little_fails_the_check_and_runs_nothing(tmp_path):
    done = on_a_kernel_without_landlock("check", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["level"], found["suffices"]) == (1, 1, False)
    assert any("Landlock" in shortfall for shortfall in found["shortfalls"])
    assert "Linux 6.2" in found["remedy"]
    done = on_a_kernel_without_landlock("check")
    assert done.returncode == 1
    assert re.search(r"level +1 \(filtered\), too low", done.stdout)
    (tmp_path / "program.py").write_text("print(1)")
    for arguments in (("run", str(tmp_path / "program.py")), ("serve", "--port", "0")):
        done = on_a_kernel_without_landlock(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "isolation level 2 (confined) is asked for, but not to be had" in done.stderr
        assert "Traceback" not in done.stderr
    done = on_a_kernel_without_landlock("run", str(tmp_path / "program.py"), "--min-level", "1")
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_the_isolation_can_be_chosen(tmp_path):
    code, result = run_as_json(tmp_path, "print(1)", "--max-level", "2")
    assert (code, result["isolation"]["level"]) == (0, 2)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    (tmp_path / "endless.py").write_text("while True: pass")
    command = [*THOR, "run", "endless.py", "--timeout", "60"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        assert eventually(lambda: len(programs(process.pid)) == 1)
        left = [*children(process.pid), *programs(process.pid)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in err
    assert eventually(lambda: not any(is_alive(pid) for pid in left))
