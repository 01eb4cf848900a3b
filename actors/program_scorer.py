"""Code benchmarks: a trajectory is right if the program that it ends with passes the problem's tests."""

from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from actors.scorers import ScoringTools
from sandbox import Sandbox
from thor_ray.code_benchmarks import AnswerKeyError, CodeJudge, CodeProblem
from thor_ray.grading import Grade, GradeStatus
from thor_ray.trajectory import Trajectory

_judges: Final[WeakKeyDictionary[Sandbox, CodeJudge]] = WeakKeyDictionary()
"""One for each sandbox of this process, so that a problem's answer key is made once and not for every sample."""


@dataclass(frozen=True, slots=True)
class ProgramScorer:
    """Runs the problem's tests in the actor's own sandbox.

    Attributes:
        problem: The programming task.
    """

    problem: CodeProblem

    async def __call__(self, trajectory: Trajectory, tools: ScoringTools) -> Grade:
        """The verdict on the last program of all that the policy wrote, executed programs included.

        A reference solution that fails under the sandbox's limits is our failure: an ``error``, whatever the policy wrote.

        Raises:
            TypeError: the programs of this actor are not run by a sandbox.
        """
        runner = tools.code_runner
        if not isinstance(runner, Sandbox):
            raise TypeError(f"tests of programs need a sandbox, not a {type(runner).__name__}")
        judge = _judges.get(runner)
        if judge is None:
            judge = _judges[runner] = CodeJudge(runner)
        response = tools.decode(trajectory.ids[trajectory.prompt_length :])
        try:
            verdict = await judge.judge(self.problem, response)
        except AnswerKeyError as error:
            return Grade(GradeStatus.ERROR, str(error), "tests", None, 0.0)
        return verdict.to_grade()
