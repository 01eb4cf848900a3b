"""Verdicts a second, side by side in one process and one run: bare math-verify, and the grader.

    python benches/grader_speed.py [--golds FILE.jsonl] [--json FILE]

Workloads: `mixed` grades each gold answer against itself, a respelling, a wrong last digit and another problem's answer;
`integers` grades whole numbers; `repeats` grades the mixed pairs once more, which the grader remembers. The graders see
each pair once and take turns, so that a busy machine is busy for both. Without --golds, and without THOR_DATA for MATH500, a few dozen answers in
MATH's style stand in. math-verify is given boxes and no time-outs, which is its fastest form.
"""

import argparse
import json
import logging
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from thor_ray.grading import GraderPool, GradeStatus

T = TypeVar("T")
Pair = tuple[str, str]
"""Answer and gold answer."""

STAND_INS = r"""
\frac{14}{3}|2|\text{Evelyn}|42|27|90^\circ|3\sqrt{13}|4|2220|\frac{3}{56}|284|5|\sqrt{51}|6 - 5i|-50|\pi|28|3|6+9i|13535
1,-2|\frac{\sqrt{3}}{3}|52_8|\left( 3, \frac{\pi}{2} \right)|p - q|10,\!080|12\%|\$18.90|x \in [-2,7]|(-\infty,2]|17|144
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}|1\frac{4}{5}|\text{(C)}|3, 5, 7|x^3+3x-6|864 \mbox{ inches}^2|\frac{1}{4}
6r^2-4r-24|(6,31,-1)|\frac{5}{13}|2k+2|(0,\infty)|5x-7y+11z+4=0|\cot x|-4|2+2i|\frac{270}7\text{ degrees}|8n^2 + 4n + 1
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--golds", type=Path, help="JSONL with `answer` a line; by default MATH500 below THOR_DATA")
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    options = arguments.parse_args()
    logging.disable(logging.CRITICAL)
    golds, source = read_golds(options.golds)
    workloads = {"mixed": mixed(golds), "integers": integers(len(golds))}
    with GraderPool() as pool:
        pool.warm_up()
        figures = {name: measure(pairs, pool) for name, pairs in workloads.items()}
        figures["repeats"] = measure(workloads["mixed"], pool)
    report(figures, source)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def read_golds(path: Path | None) -> tuple[list[str], str]:
    """The gold answers, and where they come from."""
    if path is None and "THOR_DATA" in os.environ:
        path = Path(os.environ["THOR_DATA"], "benchmarks", "math500.jsonl")
    if path is None:
        return [gold for line in STAND_INS.split("\n") for gold in line.split("|") if gold], "stand-ins for MATH500"
    return [str(json.loads(line)["answer"]) for line in path.read_bytes().splitlines()], path.stem


def mixed(golds: Sequence[str]) -> list[Pair]:
    """Right and wrong answers to all golds, half of each."""
    others = list(golds)
    random.Random(0).shuffle(others)
    pairs: list[Pair] = []
    for gold, other in zip(golds, others, strict=True):
        pairs += [(gold, gold), (respelled(gold), gold), (bumped(gold), gold), (other, gold)]
    return pairs


def respelled(gold: str) -> str:
    """The same answer as another author would type it."""
    text = re.sub(r"\\d?frac(?=\{)", r"\\dfrac", gold).replace("\\left", "").replace("\\right", "")
    return re.sub(r"(?<=[\w}])([+=])(?=[\w\\])", r" \1 ", text)


def bumped(gold: str) -> str:
    """The answer with another last digit; another answer where it has none."""
    digits = list(re.finditer(r"\d", gold))
    if not digits:
        return f"{gold}+1"
    last = digits[-1]
    return gold[: last.start()] + str((int(last.group()) + 1) % 10) + gold[last.end() :]


def integers(count: int) -> list[Pair]:
    """Whole numbers against whole numbers, half of them right."""
    generator = random.Random(0)
    values = [generator.randint(-999, 9_999) for _ in range(count)]
    return [(str(value + index % 2), str(value)) for index, value in enumerate(values)]


def measure(pairs: Sequence[Pair], pool: GraderPool, chunk: int = 100) -> dict[str, float]:
    """Verdicts a second of both graders, which see each pair once and take turns after some pairs each."""
    seconds = {"math-verify": 0.0, "grader": 0.0}
    timeouts = 0
    for start in range(0, len(pairs), chunk):
        turn = pairs[start : start + chunk]
        seconds["math-verify"] += timed(turn, by_math_verify)[0]
        taken, grades = timed(turn, pool.grade_answer)
        seconds["grader"] += taken
        timeouts += sum(grade.status is GradeStatus.TIMEOUT for grade in grades)
    rates = {grader: len(pairs) / taken for grader, taken in seconds.items()}
    return {"pairs": len(pairs), **rates, "factor": rates["grader"] / rates["math-verify"], "timeouts": timeouts}


def timed(pairs: Sequence[Pair], grade: Callable[[str, str], T]) -> tuple[float, list[T]]:
    """Seconds that all verdicts take, and the verdicts."""
    started = time.perf_counter()
    verdicts = [grade(answer, gold) for answer, gold in pairs]
    return time.perf_counter() - started, verdicts


def by_math_verify(answer: str, gold: str) -> bool:
    from math_verify import parse, verify

    sides = [parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (gold, answer)]
    return bool(verify(sides[0], sides[1], timeout_seconds=None))


def report(figures: dict[str, dict[str, float]], source: str) -> None:
    print(f"gold answers: {source}")
    print(f"{'workload':10}{'pairs':>7}{'math-verify':>14}{'grader':>14}{'factor':>10}   (verdicts a second)")
    for workload, row in figures.items():
        print(
            f"{workload:10}{row['pairs']:7.0f}{row['math-verify']:14,.0f}{row['grader']:14,.0f}{row['factor']:9.1f}x"
            + (f"   {row['timeouts']:.0f} time-outs" if row["timeouts"] else "")
        )


if __name__ == "__main__":
    main()
