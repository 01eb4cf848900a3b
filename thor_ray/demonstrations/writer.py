"""Writes a demonstration as the policy would have produced it: thought, action, observation, thought, ...

Each span is tokenised alone, as in a rollout, where the engine stops at fences and observations are inserted between
them; a tokenizer that merged text across a border would teach tokens which no rollout can contain.
"""

import re
from collections.abc import Callable, Sequence

from thor_ray.demonstrations.demonstration import CheckedClaim
from thor_ray.dialogue import render_action, render_observation
from thor_ray.refine import Claim
from thor_ray.refine.claims import numeral
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
)

_VALUE = re.compile(r"-?\d+(?:/\d+|\.\d+)?")


class DemonstrationWriter:
    """Grows one demonstration.

    A thought ends with a newline, so that the opening fence of the action starts a line.

    Args:
        trajectory_id: Unique within the run.
        problem_id: The problem it answers.
        prompt: Token ids of the prompt.
        encode: Token ids of a text alone, by the policy's tokenizer.
        end_of_sequence: The token that ends the policy's turn.
    """

    def __init__(
        self,
        trajectory_id: str,
        problem_id: str,
        prompt: Sequence[int],
        encode: Callable[[str], list[int]],
        end_of_sequence: int,
    ) -> None:
        self._builder = TrajectoryBuilder(trajectory_id, problem_id, list(prompt))
        self._encode = encode
        self._end_of_sequence = end_of_sequence
        self._thought = ""
        self._prose: list[str] = []
        self._written = ""
        self._claims: list[CheckedClaim] = []
        self._observed: dict[str, str] = {}

    @property
    def prose(self) -> str:
        """Everything but programs and observations, so far."""
        return "\n".join([*self._prose, self._thought])

    @property
    def response(self) -> str:
        """All that stands behind the prompt so far, programs and observations included."""
        return self._written + self._thought

    @property
    def claims(self) -> tuple[CheckedClaim, ...]:
        return tuple(self._claims)

    def with_observed_values(self, text: str) -> str:
        """``text`` with every hand-made result that a program has refuted replaced by what the program printed."""
        if not self._observed:
            return text
        refuted = re.compile("|".join(numeral(claimed).pattern for claimed in self._observed))
        return refuted.sub(lambda match: self._observed[match.group()], text)

    def think(self, text: str) -> None:
        """Adds a line to the thought; nothing for an empty text."""
        if text:
            self._end_line()
            self._thought += text.rstrip("\n") + "\n"

    def write(self, text: str) -> None:
        """Goes on with the thought, word for word, be it in the midst of a line."""
        self._thought += text

    def act(self, code: str, result: ExecutionResult) -> None:
        """Ends the thought with an executed program and what it printed."""
        self._end_line()
        builder = self._builder
        builder.append_written(SpanKind.THOUGHT, self._encode(self._thought))
        action = builder.append_written(SpanKind.ACTION, self._encode(render_action(code)))
        observation = builder.append_written(SpanKind.OBSERVATION, self._encode(render_observation(result.text)))
        builder.close_step(action, observation, code, result)
        builder.cost.sandbox_calls += 1
        builder.cost.failed_calls += result.status.failed
        builder.cost.tool_seconds += result.wall_seconds
        builder.cost.queue_seconds += result.queue_seconds
        self._prose.append(self._thought)
        self._written += self._thought + render_action(code) + render_observation(result.text)
        self._thought = ""

    def check(self, claim: CheckedClaim) -> None:
        """Records what a program that has run said of a prediction."""
        self._claims.append(claim)

    def settle(self, claim: Claim, result: ExecutionResult) -> None:
        """Records what the last program for ``claim`` said; a value that differs from the claimed one replaces it.

        A claimed value that is the printed one rounded stays: whole buses out of 2.5 are the reasoning's own affair.
        """
        observed = result.text.strip() if result.status is ExecutionStatus.OK else None
        checked = CheckedClaim(claim.expression, claim.result, observed)
        self._claims.append(checked)
        self._observed.pop(claim.result, None)
        if observed is not None and not checked.agrees and _VALUE.fullmatch(observed):
            self._observed[claim.result] = observed

    def finish(self) -> Trajectory:
        """The ungraded trajectory; what was thought after the last observation is the answer."""
        answer = [*self._encode(self._thought.rstrip("\n")), self._end_of_sequence]
        self._builder.append_written(SpanKind.ANSWER, answer)
        return self._builder.finish(FinishReason.ANSWERED)

    def _end_line(self) -> None:
        if self._thought and not self._thought.endswith("\n"):
            self._thought += "\n"
