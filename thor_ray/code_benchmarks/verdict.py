"""What became of a candidate's program: one status, and what failed."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from thor_ray.grading import Grade, GradeStatus


class CodeStatus(StrEnum):
    """Outcome of one check."""

    PASSED = "passed"
    """All tests of all suites."""
    WRONG_OUTPUT = "wrong_output"
    ERROR = "error"
    """The program raised an exception, does not compile, lacks the function, or ended before it had answered."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"
    """Killed by a signal that was not ours."""
    NO_CODE = "no_code"
    """The response holds no program."""
    SANDBOX_ERROR = "sandbox_error"
    """The sandbox failed, or was closed; this says nothing about the program."""


@dataclass(frozen=True, slots=True)
class CodeVerdict:
    """The verdict on one program.

    Attributes:
        id: Of the problem.
        status: The outcome.
        reason: Why, in a few words. It may show a test's expected output: never let a policy read it.
        suites: For each suite that ran, whether all its tests passed; suites after a failed one do not run.
        failed_suite: The suite with the test that failed; ``None`` if none did.
        failed_test: That test's number in its suite, from 0.
        milliseconds: Wall time of the check, time in the sandbox's queue included.
    """

    id: str
    status: CodeStatus
    reason: str = ""
    suites: dict[str, bool] = field(default_factory=dict)
    failed_suite: str | None = None
    failed_test: int | None = None
    milliseconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return self.status is CodeStatus.PASSED

    @property
    def judged(self) -> bool:
        """Whether the verdict says something about the program."""
        return self.status is not CodeStatus.SANDBOX_ERROR

    def passed_suite(self, name: str) -> bool:
        """Whether all tests of a suite, and of those before it, passed."""
        return self.suites.get(name, False)

    def to_grade(self) -> Grade:
        """The verdict in the terms of the grader of mathematics, for records and figures that both share.

        A program that ran out of time is wrong: unlike a comparison of answers, its time is its own.
        """
        match self.status:
            case CodeStatus.PASSED:
                status = GradeStatus.CORRECT
            case CodeStatus.NO_CODE:
                status = GradeStatus.NO_BOX
            case CodeStatus.SANDBOX_ERROR:
                status = GradeStatus.ERROR
            case _:
                status = GradeStatus.WRONG
        where = f" ({self.failed_suite} test {self.failed_test})" if self.failed_suite is not None else ""
        return Grade(status, f"{self.status}{where}", "tests", None, self.milliseconds)

    def to_json(self) -> dict[str, Any]:
        """Plain values, statuses by name."""
        return asdict(self)
