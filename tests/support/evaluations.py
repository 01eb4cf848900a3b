"""Evaluation rows for tests."""

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from thor_ray.evaluation.figures import About
from thor_ray.evaluation.samples import CodeUse, EvaluationSample, Timing, TokenUse
from thor_ray.grading import GradeStatus
from thor_ray.trajectory import FinishReason

ABOUT = About(name="ours", source="runs/ours", settings={"model": "tiny", "seed": "7"})


def sample(problem: str = "p", index: int = 0, correct: bool = True, **changes: Any) -> EvaluationSample:
    """A row; its answer is the gold answer if it is correct, else a wrong one that differs by index."""
    known: dict[str, Any] = {
        "benchmark": "math500",
        "problem_id": problem,
        "sample_index": index,
        "status": GradeStatus.CORRECT if correct else GradeStatus.WRONG,
        "answer": "36" if correct else f"{index}7",
        "gold": "36",
    }
    return EvaluationSample(**(known | changes))


def samples(outcomes: Iterable[Sequence[bool]], **changes: Any) -> list[EvaluationSample]:
    """Rows of problems ``p0``, ``p1``, ... with these outcomes."""
    return [
        sample(f"p{number}", index, correct, **changes)
        for number, problem in enumerate(outcomes)
        for index, correct in enumerate(problem)
    ]


def full_samples(
    problems: int = 30, each: int = 4, benchmark: str = "math500", shift: int = 0
) -> list[EvaluationSample]:
    """Rows with everything known, of problems that are solved more or less often."""
    rows = []
    for number in range(problems):
        for index in range(each):
            correct = (number * 7 + index * 3 + shift) % 10 < 6
            failed = (number + index) % 3 == 0
            rows.append(
                sample(
                    f"p{number:02d}",
                    index,
                    correct,
                    benchmark=benchmark,
                    subject=("Algebra", "Geometry")[number % 2],
                    level=1 + number % 5,
                    finish=FinishReason.ANSWERED if correct or index else FinishReason.LENGTH,
                    code=CodeUse(executed=index, failed=int(failed and index > 0), discarded=number % 2),
                    tokens=TokenUse(generated=100 + number, discarded=10),
                    timing=Timing(
                        llm=1.0, tool=0.1, queue=0.0, grade=0.01, started_at=1000.0 + number, ended_at=1100.0
                    ),
                    external_score=(number * index % 5) / 5,
                )
            )
    return rows


outcome_tables = st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=12)
"""Problems with the outcomes of their samples."""
