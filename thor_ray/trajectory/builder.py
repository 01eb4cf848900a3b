"""Growing a trajectory: the one way to make one, so that its invariants hold by construction."""

from dataclasses import replace

import numpy as np

from thor_ray.trajectory.model import (
    Cost,
    DiscardedAttempt,
    ExecutionResult,
    FinishReason,
    Parent,
    Span,
    SpanKind,
    Step,
    Trajectory,
)
from thor_ray.trajectory.tokens import NO_VERSION, Tokens


class TrajectoryBuilder:
    """Grows a trajectory token by token; the only way to make one.

    Raises:
        ValueError: from any method whose arguments would break an invariant.
    """

    def __init__(self, trajectory_id: str, problem_id: str, prompt_ids: list[int] | tuple[int, ...]) -> None:
        if not prompt_ids:
            raise ValueError(f"trajectory {trajectory_id}: the prompt has no tokens")
        self.trajectory_id = trajectory_id
        self.problem_id = problem_id
        self.ids: list[int] = list(prompt_ids)
        self.spans: list[Span] = [Span(SpanKind.PROMPT, 0, len(prompt_ids))]
        self.steps: list[Step] = []
        self.log_probs: list[float] = [0.0] * len(prompt_ids)
        self.versions: list[int] = [NO_VERSION] * len(prompt_ids)
        self.first_sampled = len(prompt_ids)
        self.cost = Cost()
        self.discarded: list[DiscardedAttempt] = []
        self.parent: Parent | None = None

    @classmethod
    def branch(cls, trajectory_id: str, parent: Trajectory, step_index: int, cut: int) -> "TrajectoryBuilder":
        """Starts a step-level continuation from ``parent.ids[:cut]`` (spec section E.7).

        Earlier steps come along as inherited; nothing of the prefix is sampled by the branch, so its tokens carry
        neither log-prob nor version here.
        """
        if not 0 <= step_index < len(parent.steps):
            raise ValueError(f"trajectory {parent.id} has no step {step_index}")
        thought = parent.steps[step_index].thought
        if not thought.start <= cut <= thought.end:
            raise ValueError(
                f"cut {cut} lies outside the thought [{thought.start}, {thought.end}) of step {step_index}"
            )
        builder = cls(trajectory_id, parent.problem_id, parent.ids[: parent.prompt_length])
        builder.ids = list(parent.ids[:cut])
        builder.spans = [Span(span.kind, span.start, min(span.end, cut)) for span in parent.spans if span.start < cut]
        builder.steps = [replace(step, inherited=True) for step in parent.steps[:step_index]]
        builder.log_probs = [0.0] * cut
        builder.versions = [NO_VERSION] * cut
        builder.first_sampled = cut
        builder.parent = Parent(parent.id, step_index, cut)
        return builder

    @classmethod
    def resume(cls, trajectory: Trajectory) -> "TrajectoryBuilder":
        """Goes on with a trajectory where it ends: its tokens keep their log-probs, versions and cost."""
        builder = cls(trajectory.id, trajectory.problem_id, trajectory.ids[: trajectory.prompt_length])
        builder.ids, builder.spans, builder.steps = list(trajectory.ids), list(trajectory.spans), list(trajectory.steps)
        builder.log_probs, builder.versions = trajectory.log_probs.tolist(), trajectory.versions.tolist()
        builder.first_sampled, builder.parent = trajectory.first_sampled, trajectory.parent
        builder.cost, builder.discarded = replace(trajectory.cost), list(trajectory.discarded)
        return builder

    def __len__(self) -> int:
        return len(self.ids)

    def append_sampled(self, kind: SpanKind, ids: list[int], log_probs: list[float], version: int) -> Span:
        """Appends tokens that the policy of weight ``version`` sampled, with their behaviour log-probs.

        A thought that continues the previous thought (a branch's prefix, or an engine request that was split)
        extends that span, so that a step has exactly one thought; an action likewise.
        """
        if not kind.written_by_policy:
            raise ValueError(f"{kind} tokens are not sampled by the policy")
        if len(ids) != len(log_probs):
            raise ValueError(f"{len(ids)} tokens but {len(log_probs)} log-probs")
        if version < 0:
            raise ValueError(f"weight version {version} is negative")
        return self._append(kind, ids, log_probs, version)

    def append_written(self, kind: SpanKind, ids: list[int]) -> Span:
        """Appends tokens that somebody else wrote: an observation, or a demonstration by TIRGen."""
        if kind is SpanKind.PROMPT:
            raise ValueError("the prompt is given at the start")
        return self._append(kind, ids, [0.0] * len(ids), NO_VERSION)

    def close_step(self, action: Span, observation: Span | None, code: str, result: ExecutionResult) -> None:
        """Records the think-act-observe loop that ``action`` ended; its thought is the span before the action."""
        position = self.spans.index(action)
        thought = self.spans[position - 1]
        if thought.kind is not SpanKind.THOUGHT:
            thought = Span(SpanKind.THOUGHT, action.start, action.start)
        self.steps.append(Step(thought, action, observation, code, result))

    def cut_back(self, cut: int, step_index: int, code: str, result: ExecutionResult) -> None:
        """Removes ``ids[cut:]``, a failed attempt's thought suffix and action, for resampling (spec section F.1)."""
        if cut < self.first_sampled:
            raise ValueError(f"cut {cut} would remove tokens from before {self.first_sampled}")
        if cut < max((span.end for span in self.spans if not span.kind.written_by_policy), default=0):
            raise ValueError(f"cut {cut} reaches into or before an observation")
        self._discard(cut, step_index, code, result)

    def restart(self, code: str, result: ExecutionResult) -> None:
        """Removes all that was built on the prompt, after a failed program, for another solution (spec section F.2)."""
        if self.parent is not None:
            raise ValueError("a continuation cannot restart: what it continues is not its own")
        self._discard(self.first_sampled, len(self.steps), code, result)
        self.steps.clear()

    def _discard(self, cut: int, step_index: int, code: str, result: ExecutionResult) -> None:
        self.discarded.append(DiscardedAttempt(step_index, cut, tuple(self.ids[cut:]), code, result))
        self.cost.discarded_tokens += sum(version != NO_VERSION for version in self.versions[cut:])
        del self.ids[cut:], self.log_probs[cut:], self.versions[cut:]
        self.spans = [Span(span.kind, span.start, min(span.end, cut)) for span in self.spans if span.start < cut]

    def begin_action(self, length: int) -> None:
        """Turns the last ``length`` tokens of the last thought, all sampled here, into the beginning of an action."""
        thought, border = self.spans[-1], len(self.ids) - length
        if thought.kind is not SpanKind.THOUGHT or not max(thought.start, self.first_sampled) <= border < thought.end:
            raise ValueError(f"the last {length} tokens are not the end of a sampled thought")
        kept = [Span(SpanKind.THOUGHT, thought.start, border)] if border > thought.start else []
        self.spans[-1:] = [*kept, Span(SpanKind.ACTION, border, thought.end)]

    def relabel_last(self, kind: SpanKind) -> None:
        """Turns the last span, a thought, into the answer: no action follows."""
        last = self.spans[-1]
        if last.kind is not SpanKind.THOUGHT or kind is not SpanKind.ANSWER:
            raise ValueError(f"only a last thought can become an answer, not {last.kind} become {kind}")
        self.spans[-1] = replace(last, kind=kind)

    def finish(
        self,
        reason: FinishReason,
        answer: str | None = None,
        grade_status: str | None = None,
        reward: float | None = None,
    ) -> Trajectory:
        """Freezes what was built."""
        return Trajectory(
            id=self.trajectory_id,
            problem_id=self.problem_id,
            tokens=Tokens(
                tuple(self.ids), np.asarray(self.log_probs, dtype=np.float32), np.asarray(self.versions, dtype=np.int32)
            ),
            spans=tuple(self.spans),
            steps=tuple(self.steps),
            first_sampled=self.first_sampled,
            finish=reason,
            cost=self.cost,
            answer=answer,
            grade_status=grade_status,
            reward=reward,
            parent=self.parent,
            discarded=tuple(self.discarded),
        )

    def _append(self, kind: SpanKind, ids: list[int], log_probs: list[float], version: int) -> Span:
        start, last = len(self.ids), self.spans[-1]
        self.ids.extend(ids)
        self.log_probs.extend(log_probs)
        self.versions.extend([version] * len(ids))
        if kind is last.kind and kind in (SpanKind.THOUGHT, SpanKind.ACTION):
            self.spans[-1] = Span(kind, last.start, len(self.ids))
        elif ids:
            self.spans.append(Span(kind, start, len(self.ids)))
        else:
            return Span(kind, start, start)
        return self.spans[-1]
