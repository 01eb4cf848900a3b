"""One trajectory as a pure state machine: thought, action, execution, thought, ... (spec sections A.4, E.7, F.1).

The machine never waits. `Episode.next` says what it needs (tokens, an execution, nothing any more) and `on_generation`
and `on_execution` bring it; who drives it decides how these are waited for. Budgets are the trajectory's own
(invariant 5), and ids only ever grow at the end, except where self-correction cuts a failed attempt away.

Fences are found where the engine stops, once each, in sampled tokens only: prose that ends in "python" is not code,
and an output block that the policy writes by itself is text like any other, not an observation.
"""

from dataclasses import dataclass
from enum import StrEnum

from actors.codec import Codec
from actors.generation import Generation, StopCause
from thor_ray.config import CorrectionConfig, RepairStrategy
from thor_ray.dialogue import (
    ACTION_CLOSE,
    ACTION_OPEN,
    OBSERVATION_OPEN,
    extract_code,
    opening_fence_length,
    render_observation,
)
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Span,
    SpanKind,
    Step,
    Trajectory,
    TrajectoryBuilder,
    backtrack_cut,
)

ACTION_STOP = ACTION_CLOSE.strip()
"""Where the engine stops inside an action. Without the newline, because the closing fence of an empty program shares
its newline with the opening fence; backticks in the middle of a line are recognised afterwards and do not close."""


@dataclass(frozen=True, slots=True)
class Generate:
    """The episode waits for tokens: continue ``ids`` up to ``stop``, or by ``max_new_tokens``."""

    ids: tuple[int, ...]
    stop: str
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Execute:
    """The episode waits for this program's result."""

    code: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The episode waits for nothing."""

    reason: FinishReason


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """Budgets of one trajectory, and what ends it early.

    Attributes:
        max_rounds: Executed blocks. The policy that opens one more ends as ``rounds_exhausted``.
        max_new_tokens: Sampled tokens that stand in the trajectory; discarded attempts do not count.
        max_context: Tokens of prompt and response together.
        stop_at_failed_code: End at the first block that fails.
        single_step: Step-level continuation: end after the first action, its observation not appended (spec E.4).
        correction: Self-correction of failed steps; ``None`` is off.
        discarded_factor: Bound on all sampled tokens, discarded ones included, in units of ``max_new_tokens``.
    """

    max_rounds: int
    max_new_tokens: int
    max_context: int
    stop_at_failed_code: bool = False
    single_step: bool = False
    correction: CorrectionConfig | None = None
    discarded_factor: int = 4


class _Phase(StrEnum):
    THOUGHT = "thought"
    ACTION = "action"
    EXECUTION = "execution"


class Episode:
    """Grows one trajectory from a builder that holds its prompt, or the prefix of a step-level continuation.

    Attributes:
        builder: What has been built so far.
        rounds_used: Executed blocks that stand in the trajectory; corrected attempts don't count.
        last_result: Of the last execution, if there was one.

    Raises:
        ValueError: from ``on_generation`` and ``on_execution`` when the episode waits for something else.
    """

    def __init__(self, builder: TrajectoryBuilder, codec: Codec, limits: EpisodeLimits) -> None:
        self.builder = builder
        self.rounds_used = 0
        self.last_result: ExecutionResult | None = None
        self._codec = codec
        self._limits = limits
        self._phase = _Phase.THOUGHT
        self._finished: FinishReason | None = None
        self._code = ""
        self._fence_end = 0
        self._correction_cut: int | None = None
        self._corrections_used = 0
        # Of the thought or action that is being sampled, the tokens of a request that was interrupted.
        self._carried = 0

    @classmethod
    def resume(cls, trajectory: Trajectory, codec: Codec, limits: EpisodeLimits) -> "Episode":
        """Goes on with a trajectory that `suspend` ended, under the same limits, maybe on another engine.

        Raises:
            ValueError: it was not suspended, or ``limits`` have self-correction, whose cuts are not kept.
        """
        if trajectory.finish is not FinishReason.SUSPENDED:
            raise ValueError(f"trajectory {trajectory.id} is {trajectory.finish}, not suspended")
        if limits.correction is not None:
            raise ValueError("a trajectory under self-correction cannot be resumed")
        episode = cls(TrajectoryBuilder.resume(trajectory), codec, limits)
        episode.rounds_used = trajectory.calls
        episode.last_result = trajectory.own_steps[-1].result if trajectory.own_steps else None
        last = trajectory.spans[-1]
        if last.kind is SpanKind.THOUGHT:
            episode._carried = last.end - max(last.start, trajectory.first_sampled)
        elif last.kind is SpanKind.ACTION:
            episode._carried = len(last)
            episode._phase = _Phase.ACTION
            episode._run_if_closed()
        return episode

    def next(self) -> Generate | Execute | Finished:
        """What the episode waits for; asking does not change it."""
        if self._finished is not None:
            return Finished(self._finished)
        if self._phase is _Phase.EXECUTION:
            return Execute(self._code)
        budget = self._token_budget()
        if budget <= 0:
            return Finished(FinishReason.LENGTH)
        return Generate(tuple(self.builder.ids), self._stop(), 1 if self._straddles() else budget)

    def abort(self) -> None:
        """Ends the episode from outside, e.g. at a deadline; what was sampled stays, nothing may be rewarded."""
        self._finished = FinishReason.ABORTED

    def suspend(self, generation: Generation | None = None) -> None:
        """Ends the episode for now, at any moment: `resume` goes on from its last token, or runs its program anew.

        Args:
            generation: What was sampled of the tokens that ``next`` asked for.
        """
        if generation is not None:
            self._count(generation)
            self._append(SpanKind(self._phase.value), generation)
        if not isinstance(self.next(), Finished):
            self._finished = FinishReason.SUSPENDED

    def on_generation(self, generation: Generation) -> None:
        """Takes the tokens that ``next`` asked for."""
        self._count(generation)
        if self._phase is _Phase.THOUGHT:
            self._on_thought(generation)
        else:
            self._on_action(generation)

    def on_execution(self, result: ExecutionResult) -> None:
        """Takes the result of the program that ``next`` asked to run."""
        if not isinstance(self.next(), Execute):
            raise ValueError(f"episode {self.builder.trajectory_id} does not wait for an execution")
        self.last_result = result
        cost = self.builder.cost
        cost.sandbox_calls += 1
        cost.failed_calls += result.status.failed
        cost.tool_seconds += result.wall_seconds
        cost.queue_seconds += result.queue_seconds
        if result.status is ExecutionStatus.INFRA_ERROR:
            self._close_step(result, None, FinishReason.ABORTED)
        elif self._limits.single_step:
            self._close_step(result, None, FinishReason.STEP_DONE)
        elif result.status.failed and self._may_correct():
            self._backtrack(result)
        elif result.status.failed and self._limits.stop_at_failed_code:
            self._close_step(result, None, FinishReason.FAILED_CODE_STOP)
        else:
            self._observe(result)

    def _token_budget(self) -> int:
        limits, cost = self._limits, self.builder.cost
        return min(
            limits.max_new_tokens - cost.kept_tokens,
            limits.max_context - len(self.builder),
            limits.max_new_tokens * limits.discarded_factor - cost.generated_tokens,
        )

    def _stop(self) -> str:
        """What ends the piece that is being sampled."""
        return ACTION_OPEN if self._phase is _Phase.THOUGHT else ACTION_STOP

    def _carried_ids(self) -> list[int]:
        return self.builder.ids[len(self.builder) - self._carried :]

    def _straddles(self) -> bool:
        """Whether tokens from before an interruption may hold the beginning of a fence.

        Engines look for stop strings in what they sample themselves, so they are asked for one token at a time then.
        """
        stop = self._stop()
        text = self._codec.decode(self._carried_ids()[-2 * len(stop) :])
        return any(text.endswith(stop[:length]) for length in range(1, len(stop)))

    def _count(self, generation: Generation) -> None:
        if not isinstance(self.next(), Generate):
            raise ValueError(f"episode {self.builder.trajectory_id} does not wait for tokens")
        cost = self.builder.cost
        cost.generated_tokens += len(generation.ids)
        cost.prompt_tokens += len(self.builder)
        cost.cached_tokens += generation.cached_tokens

    def _append(self, kind: SpanKind, generation: Generation) -> None:
        for first, last, version in generation.runs(0, len(generation.ids)):
            ids, log_probs = list(generation.ids[first:last]), list(generation.log_probs[first:last])
            self.builder.append_sampled(kind, ids, log_probs, version)

    def _on_thought(self, generation: Generation) -> None:
        by_token = self._straddles()
        self._append(SpanKind.THOUGHT, generation)
        self._carried += len(generation.ids)
        sought = generation.cause is StopCause.STOP or by_token
        fence = opening_fence_length(self._carried_ids(), self._codec.decode) if sought else 0
        if not by_token or fence:
            self._carried = 0
        if fence:
            self.builder.begin_action(fence)
            self._fence_end = len(self.builder)
            self._phase = _Phase.ACTION
            if self.rounds_used >= self._limits.max_rounds:
                self._finished = FinishReason.ROUNDS_EXHAUSTED
        elif generation.cause is StopCause.EOS:
            self._finished = FinishReason.ANSWERED
            if self.builder.spans[-1].kind is SpanKind.THOUGHT:
                self.builder.relabel_last(SpanKind.ANSWER)
        else:
            self._finish_unless_stopped(generation.cause, by_token)

    def _on_action(self, generation: Generation) -> None:
        by_token = self._straddles()
        self._append(SpanKind.ACTION, generation)
        self._carried = self._carried + len(generation.ids) if by_token else 0
        if generation.cause is not StopCause.ABORTED and self._run_if_closed():
            return
        if generation.cause is StopCause.EOS:
            self._finished = FinishReason.ANSWERED
        else:
            self._finish_unless_stopped(generation.cause, by_token)

    def _run_if_closed(self) -> bool:
        """Whether the action ends with its closing fence; then its program is what the episode waits for."""
        action = self._codec.decode(self.builder.ids[self._action().start :])
        body = action.find(ACTION_OPEN) + len(ACTION_OPEN)
        if action.find(ACTION_CLOSE, body - 1) < 0:
            return False
        self._code = extract_code(action)
        self._phase = _Phase.EXECUTION
        self._carried = 0
        return True

    def _finish_unless_stopped(self, cause: StopCause, by_token: bool) -> None:
        """A stop that turned out not to be a fence is no end, nor is one token where one was asked for."""
        if cause is StopCause.LENGTH and not by_token:
            self._finished = FinishReason.LENGTH
        elif cause is StopCause.ABORTED:
            self._finished = FinishReason.ABORTED

    def _action(self) -> Span:
        return self.builder.spans[-1]

    def _replans(self) -> bool:
        correction = self._limits.correction
        return correction is not None and correction.strategy is RepairStrategy.FULL_REPLAN

    def _may_correct(self) -> bool:
        correction = self._limits.correction
        return correction is not None and self._corrections_used < correction.attempts

    def _backtrack(self, result: ExecutionResult) -> None:
        """Throws the failed attempt away for another one; where it is cut stays what it was at the first failure."""
        correction = self._limits.correction
        if correction is None:
            raise ValueError("self-correction is off")
        self._corrections_used += 1
        self._phase = _Phase.THOUGHT
        if correction.strategy is RepairStrategy.FULL_REPLAN:
            self.builder.restart(self._code, result)
            self.rounds_used = 0
            return
        if correction.strategy is RepairStrategy.ACTION_ONLY:
            self._correction_cut = self._fence_end
            self._phase = _Phase.ACTION
        elif self._correction_cut is None:
            action, before = self._action(), self.builder.spans[-2]
            thought = before if before.kind is SpanKind.THOUGHT else Span(SpanKind.THOUGHT, action.start, action.start)
            step = Step(thought, action, None, self._code, result)
            self._correction_cut = backtrack_cut(step, correction.suffix_tokens)
        self.builder.cut_back(self._correction_cut, len(self.builder.steps), self._code, result)

    def _observe(self, result: ExecutionResult) -> None:
        ids = self._codec.encode(render_observation(result.text))
        if len(self.builder) + len(ids) >= self._limits.max_context:
            self._close_step(result, None, FinishReason.LENGTH)
            return
        action = self._action()
        observation = self.builder.append_written(SpanKind.OBSERVATION, ids)
        self._close_step(result, observation, None, action)

    def _close_step(
        self,
        result: ExecutionResult,
        observation: Span | None,
        reason: FinishReason | None,
        action: Span | None = None,
    ) -> None:
        self.builder.close_step(action or self._action(), observation, self._code, result)
        self.rounds_used += 1
        self._correction_cut = None
        if not self._replans():
            # A new solution fails at a step of its own, so only the count of all its attempts comes to an end.
            self._corrections_used = 0
        self._phase = _Phase.THOUGHT
        self._finished = reason


def reasoning_text(trajectory: Trajectory, codec: Codec) -> str:
    """What the policy wrote outside its programs: the text in which an answer may be looked for."""
    spans = (span for span in trajectory.spans if span.kind in (SpanKind.THOUGHT, SpanKind.ANSWER))
    return "\n".join(codec.decode(trajectory.ids[span.start : span.end]) for span in spans)


def writes_own_observation(trajectory: Trajectory, codec: Codec) -> bool:
    """Whether the policy invented an output block instead of leaving it to the sandbox (spec A.8)."""
    return OBSERVATION_OPEN.strip() in reasoning_text(trajectory, codec)
