"""How ordinary programs end, and what their results say."""

import textwrap

import pytest

from sandbox import Level, Limits, Request, Sandbox, Status


def program(text: str) -> str:
    return textwrap.dedent(text).strip() + "\n"


def test_output_code_and_isolation_of_a_good_program(box):
    result = box.run("print(6 * 7)", seed=3)
    assert (result.status, result.stdout, result.stderr, result.exit_code) == (Status.OK, "42\n", "", 0)
    assert result.ok
    assert result.error_line is None
    assert result.isolation == box.isolation
    assert result.isolation.level >= Level.CONFINED
    assert result.isolation.landlock_abi >= 3
    assert result.isolation.seccomp
    assert (result.seed, result.attempt, result.truncated, result.signal) == (3, 1, False, None)
    assert result.wall_ms > 0
    assert result.queue_ms >= 0
    assert result.max_rss_kb > 1000


@pytest.mark.parametrize(
    "source", ["", "\n", "# nothing\n", "import sys; sys.exit()", "import sys; sys.exit(0)", "import os; os._exit(0)"]
)
def test_a_program_that_says_nothing_is_ok_with_empty_output(box, source):
    result = box.run(source)
    assert (result.status, result.stdout, result.stderr) == (Status.OK, "", "")


def test_a_traceback_reads_as_the_interpreter_prints_it(box):
    result = box.run(
        program("""
            def invert(x):
                return 1 / x
            print("before")
            invert(0)
        """)
    )
    assert result.status is Status.RUNTIME_ERROR
    assert result.stdout == "before\n"
    assert result.stderr == program("""
        Traceback (most recent call last):
          File "<program>", line 4, in <module>
            invert(0)
          File "<program>", line 2, in invert
            return 1 / x
                   ~~^~~
        ZeroDivisionError: division by zero
    """)
    assert result.traceback == result.stderr
    assert (result.exc_type, result.exc_message, result.exit_code) == ("ZeroDivisionError", "division by zero", 1)
    assert result.error_line == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("source", "last_line"),
    [
        ("from fractions import gcd", "ImportError: cannot import name 'gcd' from 'fractions'"),
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("assert False", "AssertionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("print(undefined)", "NameError: name 'undefined' is not defined"),
        ("import sympy; sympy.sympify('1 +')", "sympy.core.sympify.SympifyError: "),
        ("class Odd(Exception): pass\nraise Odd('x')", "Odd: x"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("input()", "EOFError: EOF when reading a line"),
        ("open('/missing')", "FileNotFoundError: [Errno 2] No such file or directory: '/missing'"),
    ],
)
def test_the_last_line_of_stderr_is_the_interpreters_own(box, source, last_line):
    result = box.run(source)
    assert result.status is Status.RUNTIME_ERROR
    assert result.error_line.startswith(last_line)
    if "Sympify" not in last_line:  # whose message has several lines
        assert result.stderr.splitlines()[-1] == result.error_line


def test_only_the_programs_own_frames_are_shown_in_chained_errors_too(box):
    result = box.run(
        program("""
            import json
            try:
                json.loads("{")
            except ValueError as error:
                raise RuntimeError("bad input") from error
        """)
    )
    assert "direct cause" in result.stderr
    assert "JSONDecodeError" in result.stderr
    assert "site-packages" not in result.stderr
    assert "/json/" not in result.stderr
    assert result.error_line == "RuntimeError: bad input"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("x = ", "SyntaxError"),
        ("if True:\nprint(1)", "IndentationError"),
        ("print(1)\0", "SyntaxError"),
        ("x = '\ud800'", "UnicodeEncodeError"),
        ("(" * 5000 + ")" * 5000, "SyntaxError"),
        ("return 1", "SyntaxError"),
    ],
)
def test_what_does_not_compile_is_a_syntax_error(box, source, kind):
    result = box.run(source)
    assert (result.status, result.stdout) == (Status.SYNTAX_ERROR, "")
    assert result.exc_type == kind or (kind == "SyntaxError" and "null byte" in result.exc_message)
    assert result.stderr.splitlines()[-1] == result.error_line
    assert "Traceback" not in result.stderr


def test_a_syntax_error_raised_while_running_is_a_runtime_error(box):
    assert box.run("eval('1 +')").status is Status.RUNTIME_ERROR


@pytest.mark.parametrize(
    ("source", "code", "stderr"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("exit('the reason')", 1, "the reason\n"),
        ("import os; os._exit(7)", 7, ""),
        ("import sys; sys.exit(256 + 5)", 5, ""),
        ("quit(9)", 9, ""),
    ],
)
def test_exit_codes(box, source, code, stderr):
    result = box.run(source)
    assert (result.status, result.exit_code, result.stderr) == (Status.EXIT, code, stderr)


def test_output_before_an_exit_is_kept(box):
    assert box.run("print('kept'); exit(1)").stdout == "kept\n"


def test_stdin_is_empty(box):
    assert box.run("import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


def test_large_outputs_arrive_and_are_cut_in_the_middle_only_beyond_the_limit(box):
    whole = box.run("print('x' * 60_000)")
    assert (whole.status, whole.stdout, whole.truncated) == (Status.OK, "x" * 60_000 + "\n", False)
    cut = box.run("import sys\nfor i in range(20_000): print(i, 'é' * 5)\nprint('last line')")
    assert (cut.status, cut.truncated) == (Status.OK, True)
    assert cut.stdout.startswith("0 ééééé\n1 ")
    assert cut.stdout.endswith("19999 ééééé\nlast line\n")
    assert "bytes left out" in cut.stdout
    assert "\ufffd" not in cut.stdout
    assert len(cut.stdout.encode()) < 66_000


@pytest.mark.parametrize("size", [0, 1, 4096, 65_535, 65_536, 65_537, 131_073, 1_000_000, 8_000_000])
def test_output_of_any_size_never_makes_a_timeout_of_an_end(box, size):
    ends = {"": Status.OK, "1 / 0": Status.RUNTIME_ERROR, "sys.exit(3)": Status.EXIT}
    writes = ["print(text, end='')", "sys.stderr.write(text)", "os.write(1, text.encode())"]
    cases = [(f"import os, sys\ntext = 'x' * {size}\n{write}\n{end}", ends[end]) for write in writes for end in ends]
    results = box.run_batch(Request(code, timeout=20) for code, _ in cases)
    assert [result.status for result in results] == [status for _, status in cases]
    assert all(len(result.stdout) >= min(size, 65_536) for result in results[: len(ends)])


def test_of_a_flood_the_beginning_and_the_end_are_kept(box):
    result = box.run("import sys\nsys.stderr.write('e' * 100_000)\nwhile True: print('x' * 1000)", timeout=20)
    assert (result.status, result.truncated) == (Status.OUTPUT_LIMIT, True)
    assert 120_000 < len(result.stdout) + len(result.stderr) < 140_000


def test_output_before_a_timeout_is_kept(box):
    result = box.run("print('early', flush=True)\nwhile True: pass", timeout=0.5)
    assert (result.status, result.stdout) == (Status.TIMEOUT, "early\n")


def test_a_program_that_takes_all_memory_gets_no_more_than_its_limit(box):
    result = box.run("x = []\nwhile True: x.append(bytearray(1 << 20))", timeout=20)
    assert result.status is Status.MEMORY_LIMIT
    assert box.limits.memory_bytes // 2 < result.max_rss_kb * 1024 < 2 * box.limits.memory_bytes


def test_two_hundred_kilobytes_come_back_exact_when_the_limit_allows():
    with Sandbox(workers=1, preload=(), limits=Limits(output_head_bytes=400_000)) as sandbox:
        result = sandbox.run("print('x' * 200_000)")
    assert (result.status, len(result.stdout), result.truncated) == (Status.OK, 200_001, False)


def test_any_bytes_on_stdout_become_text(box):
    result = box.run("import sys; sys.stdout.buffer.write(bytes(range(256)))")
    assert result.status is Status.OK
    assert result.stdout.startswith("\x00\x01\x02")
    assert "\ufffd" in result.stdout
    assert box.run("print('\\ud800')").stdout == "\\ud800\n"


def test_a_program_is_main_and_sees_a_fixed_environment_and_an_empty_directory(box):
    result = box.run(
        program("""
            import os, dataclasses
            @dataclasses.dataclass
            class Point:
                x: int
            print(__name__, Point(1), os.listdir("."), sorted(os.environ))
            open("made", "w").write("x")
            print(os.listdir("."))
        """)
    )
    names = sorted(
        "HOME LANG MALLOC_ARENA_MAX OMP_NUM_THREADS OPENBLAS_NUM_THREADS PATH PYTHONHASHSEED TMPDIR TZ".split()
    )
    assert result.stdout == f"__main__ Point(x=1) [] {names}\n['made']\n"
    assert box.run("import os; print(os.listdir('.'))").stdout == "[]\n"


def test_nothing_of_one_program_reaches_the_next(box):
    for _ in range(4):
        assert box.run("import math, builtins\nmath.pi = builtins.print = 3").ok
    for _ in range(4):
        assert box.run("import math\nprint(math.pi)").stdout.startswith("3.14159")


def test_a_seed_repeats_every_stream_and_without_one_streams_differ(box):
    source = program("""
        import random, numpy
        from sympy.core.random import rng
        print(random.random(), numpy.random.rand(), rng.random(), hash("a fixed string"))
    """)
    first, second, other = box.run(source, seed=11), box.run(source, seed=11), box.run(source, seed=12)
    assert first.ok
    assert first.stdout == second.stdout != other.stdout
    drawn, redrawn = box.run(source), box.run(source)
    assert drawn.stdout != redrawn.stdout
    assert box.run(source, seed=drawn.seed).stdout == drawn.stdout


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("from sympy import *\nx = symbols('x')\nprint(solve(x**2 - 5*x + 6, x))", "[2, 3]\n"),
        ("import sympy as sp\nx = sp.symbols('x')\nprint(sp.integrate(sp.sin(x) * x, x))", "-x*cos(x) + sin(x)\n"),
        ("import numpy as np\nprint(np.linalg.det(np.array([[1.0, 2.0], [3.0, 4.0]])).round(6))", "-2.0\n"),
        ("import mpmath\nprint(mpmath.mp.pi)", "3.14159265358979\n"),
        ("import itertools, collections\nprint(sum(1 for _ in itertools.permutations(range(5))))", "120\n"),
        ("import sqlite3\nprint(sqlite3.connect(':memory:').execute('select 1 + 1').fetchone())", "(2,)\n"),
        ("import tempfile\nwith tempfile.TemporaryFile() as f: print(f.write(b'abc'))", "3\n"),
        ("import asyncio\nasync def f(): return 5\nprint(asyncio.run(f()))", "5\n"),
        (
            "from concurrent.futures import ThreadPoolExecutor as P\nwith P(8) as p: print(sum(p.map(abs, range(9))))",
            "36\n",
        ),
        ("from zoneinfo import ZoneInfo\nimport datetime\nprint(datetime.datetime(2020, 1, 1).year)", "2020\n"),
        ("import os\nos.mkdir('d'); os.rename('d', 'e'); os.rmdir('e'); print(os.listdir('.'))", "[]\n"),
    ],
)
def test_what_honest_programs_need_works(box, source, output):
    result = box.run(source)
    assert (result.status, result.stdout) == (Status.OK, output), result.stderr


def test_a_megabyte_of_program_runs_and_a_longer_one_is_refused(box):
    result = box.run("#" * (1024 * 1024 - 20) + "\nprint('end')")
    assert (result.status, result.stdout) == (Status.OK, "end\n")
    refused = box.run("#" * (1024 * 1024 + 1))
    assert (refused.status, refused.exc_type, refused.isolation) == (Status.SYNTAX_ERROR, "ProgramTooLong", None)
    assert refused.stderr.splitlines()[-1] == refused.error_line


def test_a_batch_keeps_its_order_and_its_requests_apart(box):
    requests = [f"print({i})" for i in range(20)] + [Request("import random; print(random.random())", seed=1)] * 2
    results = box.run_batch([*requests, "1/0", "#" * 2_000_000])
    assert [result.stdout for result in results[:20]] == [f"{i}\n" for i in range(20)]
    assert results[20].stdout == results[21].stdout
    assert [result.status for result in results[22:]] == [Status.RUNTIME_ERROR, Status.SYNTAX_ERROR]


def test_bad_arguments_are_refused_before_anything_runs(box):
    with pytest.raises(TypeError, match="must be a string"):
        box.run(b"print(1)")
    with pytest.raises(ValueError, match="at most 60"):
        box.run("", timeout=61)
    with pytest.raises(ValueError, match="seed"):
        box.run("", seed=-1)
