"""Right verdicts on the test rows of another project, side by side: bare math-verify, and the grader.

    git clone https://github.com/huggingface/Math-Verify
    python benches/grader_accuracy.py Math-Verify/tests/*.py

Reads `(gold, pred, expected)` rows out of `pytest.mark.parametrize` without running the files. Both graders get what the
last box holds, or the formula where there is no box; rows whose answer stands in prose are left out and counted, those with a tolerance of
their own are left out.
Without files there is nothing to do.
"""

import argparse
import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thor_ray.grading import GraderPool, GradeStatus, extract_boxed

Row = tuple[str, str, bool]
"""Gold answer, answer, and whether they are equal, as the row says."""

FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)(?<!\\)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
JOINTS = re.compile(r"(?:\s|[,.]|and|or)*")
WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
WORDS_OF_PROSE = 3
DEFAULT_PRECISION = 6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("suites", type=Path, nargs="*", help="test files with (gold, pred, expected) rows")
    options = arguments.parse_args()
    if not options.suites:
        print("NOT MEASURED: no test files were given; --help says which")
        return
    logging.disable(logging.CRITICAL)
    rows = [row for suite in options.suites for row in rows_of(suite)]
    pairs = [(answer_of(gold), answer_of(answer), expected) for gold, answer, expected in rows]
    usable = list(dict.fromkeys((gold, answer, right) for gold, answer, right in pairs if gold and answer))
    print(
        f"{len(rows)} rows, {len(rows) - len([pair for pair in pairs if pair[0] and pair[1]])} of them in prose or empty; "
        f"{len(usable)} different pairs are graded\n"
    )
    with GraderPool() as pool:
        verdicts = [pool.grade_answer(answer, gold).status is GradeStatus.CORRECT for gold, answer, _ in usable]
    print_figures("grader", usable, verdicts)
    print_figures("math-verify", usable, [by_math_verify(gold, answer) for gold, answer, _ in usable])
    for (gold, answer, expected), verdict in zip(usable, verdicts, strict=True):
        if verdict != expected:
            print(f"  {'accepts' if verdict else 'refuses'} {answer[:90]!r} for {gold[:90]!r}")


def print_figures(name: str, rows: list[Row], verdicts: list[bool]) -> None:
    accepts = sum(verdict and not row[2] for row, verdict in zip(rows, verdicts, strict=True))
    refuses = sum(row[2] and not verdict for row, verdict in zip(rows, verdicts, strict=True))
    share = 1 - (accepts + refuses) / len(rows)
    print(f"{name:12} agrees with {share:.1%} of the rows; accepts {accepts} and refuses {refuses} that the rows don't")


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of all parametrized tests of a file that are literals."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_call = (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize"
        )
        if not is_call or not isinstance(node, ast.Call) or not isinstance(node.args[1], ast.List):
            continue
        names = [name.strip() for name in str(_literal(node.args[0])).split(",")]
        for element in node.args[1].elts:
            values = _literal(element)
            row = dict(zip(names, values, strict=False)) if isinstance(values, tuple) else {}
            is_row = isinstance(row.get("gold"), str) and isinstance(row.get("pred"), str) and "expected" in row
            if is_row and row.get("precision", DEFAULT_PRECISION) == DEFAULT_PRECISION:
                yield row["gold"], row["pred"], bool(row["expected"])


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def answer_of(text: str) -> str | None:
    """The last box; without one the formulas, or the text itself, if there is no prose around them."""
    boxed = extract_boxed(text)
    if boxed is not None:
        return boxed
    formulas = list(FORMULA.finditer(text))
    around = FORMULA.sub(",", text) if formulas else ""
    if JOINTS.fullmatch(around) is None or (not formulas and len(WORD.findall(text)) >= WORDS_OF_PROSE):
        return None
    return ", ".join(next(filter(None, formula.groups())) for formula in formulas) if formulas else text


def by_math_verify(gold: str, answer: str) -> bool:
    from math_verify import parse, verify

    sides = [parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (gold, answer)]
    return bool(verify(sides[0], sides[1], timeout_seconds=None))


if __name__ == "__main__":
    main()
