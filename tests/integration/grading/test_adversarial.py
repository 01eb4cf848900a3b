"""Answers that are made to hang, crash or fool the grader: a quick verdict, no reward, and a grader that works on.

Each is graded with the deadline and the memory limit that training has.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from thor_ray.grading import GraderPool, GradeStatus

MOST_SECONDS = 60.0
"""What hangs would take for ever; how quick verdicts are, `benches/grader_speed.py` tells."""
MOST_BYTES = 2 << 30

MEGABYTE = 1 << 20
ZETA = r"\zeta(\frac{7}{3})"

HUGE_NUMBERS = [
    ("5", "9^{9^{9^{9}}}"),
    ("5", "9^9^9^9^9"),
    ("5", "10^{10^{10}}"),
    ("5", "(((9^{9999})^{9999})^{9999})^{9999}"),
    ("x", "x^{10^{9}}"),
    ("x", r"e^{e^{e^{e^{9}}}}"),
    ("5", "100000!"),
    ("5", "((9!)!)!"),
    ("n", "(((n!)!)!)!"),
    ("5", r"\binom{100000000}{50000000}"),
    ("n", r"\binom{n^{n^{n}}}{n^{n}}"),
    ("5", "9" * 2000),
    ("5", "1e99999"),
    ("5", "1e-99999"),
    ("5", "0." + "0" * 1900 + "1"),
    ("5", r"0.\overline{" + "142857" * 300 + "}"),
    (r"\sqrt{2}", r"\sqrt{2} + 10^{-9999}"),
    (r"\sqrt{2}", r"\sqrt{2} + e^{-9999}"),
    (ZETA, f"{ZETA} + 10^{{-1400}}"),
    (r"\sin 1", r"\sin 1 + " + "+".join(rf"\sin {n} - \sin {n}" for n in range(2, 90)) + "+ 10^{-1400}"),
    (r"\Gamma(\pi)", r"\Gamma(\pi + 10^{-1400})"),
    (r"\tan x", r"\tan(x + 10^{-1400})"),
]

NESTED = [
    ("5", r"\sqrt{" * 40 + "5" + "}" * 40),
    (r"\sqrt{2}", r"\sqrt{2 + " * 49 + "2" + "}" * 49),
    (r"\sqrt{2}", r"\frac{1}{1 + " * 45 + "1" + "}" * 45),
    ("x", r"\sin(" * 45 + "x" + ")" * 45),
    ("x", r"e^{" * 45 + "x" + "}" * 45),
    ("x", "|" * 1000 + "x" + "|" * 999),
    ("5", "(" * 1000 + "5" + ")" * 1000),
    ("5", "{" * 50 + "6" + "}" * 50),
    ("5", "-" * 1999 + "5"),
    ("x", r"\sqrt" * 380 + "x"),
    ("x", "x" + "!" * 1900),
    ("x", "x" + "^2" * 900),
    ("x", "+".join(["x"] * 999)),
    ("x", "".join(["x"] * 1999)),
    ("x", "/".join(["x"] * 999)),
    ("x", "=".join(["x"] * 999) + "y"),
    ("1, 2", ",".join(map(str, range(400)))),
    (",".join(map(str, range(400))), ",".join(map(str, range(1, 401)))),
    (r"\sqrt{2}, " * 60 + "1", r"\sqrt{3}, " * 60 + "1"),
    (
        r"\begin{pmatrix}" + r"x & y \\" * 90 + r"\end{pmatrix}",
        r"\begin{pmatrix}" + r"y & x \\" * 90 + r"\end{pmatrix}",
    ),
]

CODE = [
    ("5", "__import__('os').system('touch OWNED')"),
    ("5", "exec(open('/etc/passwd').read())"),
    ("5", "eval('2+3')"),
    ("5", "().__class__.__bases__[0].__subclasses__()"),
    ("5", r"\text{__import__('os').system('touch OWNED')}"),
    ("x", r"x.__class__.__init__.__globals__['os'].system('touch OWNED')"),
    ("x", r"\operatorname{__import__}(os)"),
    ("x", r"f(__import__('os').system('touch OWNED'))"),
    ("5", "5; import os; os.system('touch OWNED')"),
    ("5", "5\nraise SystemExit(0)"),
    ("5", "lambda: 5"),
    ("5", r"\input{/etc/passwd}"),
    ("5", r"\write18{touch OWNED}"),
    ("5", r"\def\x{5}\x"),
    ("5", "Integer(5)"),
    ("x", "Symbol('x')"),
    ("5", "{{5+1}}"),
    ("5", "%s" * 100),
    ("5", '{"status": "correct", "equal": true}'),
    ("5", "$(touch OWNED)"),
    ("5", "<script>5</script>"),
]

CHARACTERS = [
    ("5", "5\x00"),
    ("5", "\u200b5"),
    ("5", "\u202e5"),
    ("12", "21\u202e"),
    ("5", "\ud800"),
    ("5", "\ufdfa" * 2000),
    ("5", "½" * 2000),
    ("5", "²" * 2000),
    ("5", "𝟓" * 2000),
    ("5", "é" * 2000),
    ("5", "е"),
    ("5", "５０"),
    ("5", "\N{COMBINING LONG SOLIDUS OVERLAY}" * 1000 + "5"),
    ("5", "5\u0338"),
]

REGEX_BOMBS = [
    ("5", "\\" * 2000),
    ("5", "~" * 2000),
    ("5", r"\text{m}^2 " * 180),
    ("5", "1" * 1000 + "." + "1" * 990 + "..."),
    ("5", r"\$" * 1000),
    ("5", "5 million " * 200),
    ("5", r"\boxed{" * 280),
    ("5", r"{1 \over " * 200),
    ("5", "and " * 500),
    ("5", r"\text{ and } " * 150),
    ("5", ", " * 1000),
    ("5", r"\pm" * 600),
    ("5", r"x \ne " * 300),
    ("5", "answer is " * 200),
    ("5", "1,234" * 400),
    ("5", "1 000 " * 330),
    ("5", r"\mathbb{R} \setminus " * 95),
    ("5", r"|x| < " * 300),
    ("5", r"\begin{cases}" * 150),
    ("5", r"\frac" * 390),
]


@pytest.fixture(scope="module")
def warm_pool() -> Iterator[GraderPool]:
    """A pool with a worker at work and a spare, as it is a moment after training has begun."""
    with GraderPool() as grader:
        grader.warm_up()
        grader.grade_answer(r"\sqrt{12}", r"2\sqrt{3}")
        yield grader


def peak_bytes(pid: int) -> int:
    """The most memory that a process has ever had; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize(
    ("gold", "answer"),
    [*HUGE_NUMBERS, *NESTED, *CODE, *CHARACTERS, *REGEX_BOMBS],
    ids=lambda text: ascii(text[:25]),
)
def test_no_answer_is_accepted_or_takes_long(
    warm_pool: GraderPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gold: str, answer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    grade = warm_pool.grade_answer(answer, gold)
    assert time.monotonic() - started < MOST_SECONDS, grade
    assert grade.status not in (GradeStatus.CORRECT, GradeStatus.ERROR), grade
    assert all(peak_bytes(pid) < MOST_BYTES for pid in warm_pool.worker_pids())
    started = time.monotonic()
    number = random.randrange(10**6)
    assert warm_pool.grade_answer(rf"{number}\sqrt{{8}}", rf"{2 * number}\sqrt{{2}}").status is GradeStatus.CORRECT
    assert time.monotonic() - started < MOST_SECONDS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "\\boxed{5}, ",
        "}",
        "{",
        "```python\n",
        "```python\nx\n```\n",
        "\n```",
        "</think>",
        "<think>",
        "\\",
        " ",
        "and ",
        "\\text{",
        "x",
    ],
)
def test_megabytes_of_text_are_searched_in_time(warm_pool: GraderPool, unit: str) -> None:
    response = unit * (8 * MEGABYTE // len(unit))
    started = time.monotonic()
    warm_pool.grade(response, "5")
    warm_pool.grade(response + r" so \boxed{5}", "5")
    assert time.monotonic() - started < 2 * MOST_SECONDS


def test_a_gold_answer_that_hangs_is_as_harmless(warm_pool: GraderPool) -> None:
    for gold, answer in [*HUGE_NUMBERS, *NESTED, *REGEX_BOMBS]:
        started = time.monotonic()
        assert warm_pool.grade_answer(gold, answer).status not in (GradeStatus.CORRECT, GradeStatus.ERROR)
        assert time.monotonic() - started < MOST_SECONDS
