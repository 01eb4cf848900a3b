"""Rule-based grading of mathematical answers: strict extraction, exact arithmetic, algebra in killable processes."""

from thor_ray.grading.extraction import extract_boxed
from thor_ray.grading.pool import GraderPool, grade, grade_answer, grade_inline
from thor_ray.grading.repetition import has_degenerate_repetition
from thor_ray.grading.verdict import Grade, GradeStatus
from thor_ray.grading.worker_process import GraderUnavailableError

__all__ = [
    "Grade",
    "GradeStatus",
    "GraderPool",
    "GraderUnavailableError",
    "extract_boxed",
    "grade",
    "grade_answer",
    "grade_inline",
    "has_degenerate_repetition",
]
