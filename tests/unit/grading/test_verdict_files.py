"""The tables of `verdicts/`: answers that equal a gold answer in another spelling, and near misses."""

from pathlib import Path

import pytest

from thor_ray.grading import GraderPool, GradeStatus

FILES = sorted(Path(__file__).parent.glob("verdicts/*.cases"))


def cases(file: Path) -> list[tuple[str, str, bool]]:
    """Gold answer, answer, and whether they are equal."""
    found = []
    gold = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            gold = line
            continue
        mark, answer = line[2], line[4:]
        assert mark in "=!", f"{file}: {line}"
        found.append((gold, answer, mark == "="))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_verdict_is_right(pool: GraderPool, file: Path) -> None:
    table = cases(file)
    grades = [future.result() for future in [pool.submit_answer(answer, gold) for gold, answer, _ in table]]
    wrong = [
        (gold, answer, grade)
        for (gold, answer, is_equal), grade in zip(table, grades, strict=True)
        if (grade.status is GradeStatus.CORRECT) != is_equal
    ]
    assert wrong == []
    assert len(table) > 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_refusal_is_never_an_accident(pool: GraderPool, file: Path) -> None:
    grades = [pool.grade_answer(answer, gold) for gold, answer, _ in cases(file)]
    assert [grade for grade in grades if grade.status in (GradeStatus.ERROR, GradeStatus.TIMEOUT)] == []
