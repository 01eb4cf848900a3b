"""How a finished trajectory becomes a verdict: by comparing its answer with a gold one, or in a way of a benchmark's own.

A scorer travels to the actor that made the trajectory and works there, beside the tokenizer, the grader and the sandbox.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import sandbox
from actors.codec import Codec
from actors.episode import reasoning_text
from thor_ray.grading import EXACT, Grade, GradingPolicy
from thor_ray.trajectory import Trajectory


class CodeRunner(Protocol):
    """What is needed of `sandbox.Sandbox`."""

    async def arun(self, code: str, *, timeout: float | None = None, seed: int | None = None) -> sandbox.Result:  # noqa: ASYNC109
        """Runs one program."""


class Grader(Protocol):
    """What is needed of `thor_ray.grading.GraderPool`."""

    async def agrade(self, response: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
        """Grades the answer that a response holds."""


@dataclass(frozen=True, slots=True)
class ScoringTools:
    """What a scorer finds where it works.

    Attributes:
        codec: The policy's tokenizer.
        grader: Compares answers.
        code_runner: Runs programs in confinement.
    """

    codec: Codec
    grader: Grader
    code_runner: CodeRunner

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text."""
        return self.codec.decode(ids)


class Scorer(Protocol):
    """Judges one trajectory. Small and picklable, since it is sent along with each problem."""

    async def __call__(self, trajectory: Trajectory, tools: ScoringTools) -> Grade:
        """The verdict. Bounded in time by whoever asks; what cannot be judged is an ``error``, not a wrong answer."""


@dataclass(frozen=True, slots=True)
class AnswerScorer:
    """Mathematics: the answer outside of all programs has to equal the gold answer."""

    gold: str
    policy: GradingPolicy = EXACT

    async def __call__(self, trajectory: Trajectory, tools: ScoringTools) -> Grade:
        """The grader's verdict."""
        return await tools.grader.agrade(reasoning_text(trajectory, tools.codec), self.gold, self.policy)


@dataclass(frozen=True, slots=True)
class Scored:
    """A finished trajectory, and the whole verdict, of which the trajectory itself holds status and answer alone.

    Attributes:
        trajectory: With its reward.
        grade: ``None`` where the trajectory was aborted and there was nothing to judge.
    """

    trajectory: Trajectory
    grade: Grade | None
