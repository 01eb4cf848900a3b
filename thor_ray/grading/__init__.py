"""Rule-based grading of mathematical answers: strict extraction, exact arithmetic, algebra in killable processes."""

from thor_ray.grading.extraction import extract_boxed
from thor_ray.grading.policy import EXACT, GradingPolicy
from thor_ray.grading.pool import GRADER_VERSION, GraderPool, grade, grade_answer, grade_inline
from thor_ray.grading.repetition import has_degenerate_repetition
from thor_ray.grading.verdict import Grade, GradeStatus
from thor_ray.grading.worker_process import GraderUnavailableError

__all__ = [
    "EXACT",
    "GRADER_VERSION",
    "Grade",
    "GradeStatus",
    "GraderPool",
    "GraderUnavailableError",
    "GradingPolicy",
    "extract_boxed",
    "grade",
    "grade_answer",
    "grade_inline",
    "has_degenerate_repetition",
]
