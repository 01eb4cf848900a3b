"""The gold answers of real benchmarks, where they are at hand: ``THOR_DATA`` names the folder that holds ``benchmarks``."""

import json
import os
import re
from pathlib import Path

import pytest

from thor_ray.grading import GraderPool, GradeStatus

pytestmark = pytest.mark.skipif(
    "THOR_DATA" not in os.environ,
    reason="no benchmark files: set THOR_DATA to a folder with benchmarks/*.jsonl to grade real gold answers",
)


def golds() -> list[str]:
    files = sorted(Path(os.environ["THOR_DATA"], "benchmarks").glob("*.jsonl"))
    assert files, f"THOR_DATA={os.environ['THOR_DATA']} has no benchmarks/*.jsonl"
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted({str(json.loads(line)["answer"]) for line in lines})


def respelled(gold: str) -> str:
    r"""The same answer as another author would type it; commas stay, as ``,\!`` and ``, `` mean different things."""
    text = re.sub(r"\\d?frac(?=\{)", r"\\tfrac ", gold)
    text = re.sub(r"(?<=[^\\^_+\-=(,\s])([+=])(?=[^+\-=])", r" \1 ", text)
    return "$" + re.sub(r"\\(?:left|right)(?![a-z])|(?<!\\)\$", "", text) + "$"


def test_every_gold_equals_itself(pool: GraderPool) -> None:
    failures = [gold for gold in golds() if pool.grade_answer(gold, gold).status is not GradeStatus.CORRECT]
    assert failures == []


def test_every_gold_equals_itself_respelled(pool: GraderPool) -> None:
    failures = [gold for gold in golds() if pool.grade_answer(respelled(gold), gold).status is not GradeStatus.CORRECT]
    assert failures == []


def test_no_gold_equals_itself_with_another_last_digit(pool: GraderPool) -> None:
    failures = []
    for gold in golds():
        digits = list(re.finditer(r"\d", gold))
        if digits:
            last = digits[-1]
            bumped = gold[: last.start()] + str((int(last.group()) + 1) % 10) + gold[last.end() :]
            grade = pool.grade_answer(bumped, gold)
            if grade.status in (GradeStatus.CORRECT, GradeStatus.ERROR):  # a busy machine may need too long for some
                failures.append((gold, bumped, grade))
    assert failures == []
