"""The data model: one append-only list of token ids with provenance (spec sections A.1, A.8b, A.9).

A trajectory alternates thoughts, actions and observations, ``r1 a1 o1 ... rn`` (paper equation 1), and is stored
as the token ids themselves, never as text that somebody tokenises again. Invariants:

* Spans tile the ids without gap or overlap, and only ever grow at the end.
* A token has a behaviour log-prob and a weight version if and only if the policy sampled it.
* The loss mask is derived from the spans, so an observation cannot be trained on by a wrong offset.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

NO_VERSION = -1
"""Weight version of tokens that no policy sampled: prompts, observations, text written by a refiner."""


class SpanKind(StrEnum):
    """Who wrote a run of tokens, and as which part of the trajectory."""

    PROMPT = "prompt"
    THOUGHT = "thought"
    ACTION = "action"
    OBSERVATION = "observation"
    ANSWER = "answer"
    """The last thought, after which no action follows; it holds the boxed answer."""

    @property
    def written_by_policy(self) -> bool:
        """Whether the policy predicts these tokens; prompt and observations are conditioning only."""
        return self in (SpanKind.THOUGHT, SpanKind.ACTION, SpanKind.ANSWER)


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens ``[start, end)`` of a trajectory, all of one kind."""

    kind: SpanKind
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


class ExecutionStatus(StrEnum):
    """How an action ended (spec section A.7 [N])."""

    OK = "ok"
    """Finished in time with return code 0 and printed something."""
    NO_OUTPUT = "no_output"
    """Finished in time with return code 0, but printed nothing but white space."""
    EXCEPTION = "exception"
    """Raised, exited non-zero, crashed, did not parse, or went over a limit other than time."""
    TIMEOUT = "timeout"
    INFRA_ERROR = "infra_error"
    """Our own failure. Says nothing about the code, and so never becomes a reward (invariant 4)."""

    @property
    def failed(self) -> bool:
        """Whether the *code* is to blame. False for ``infra_error``."""
        return self in (ExecutionStatus.NO_OUTPUT, ExecutionStatus.EXCEPTION, ExecutionStatus.TIMEOUT)


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """What the sandbox said of one action.

    Attributes:
        text: The observation after truncation and fence escaping, as the policy reads it.
        exception_type: ``ImportError`` and the like where the program raised.
        wall_seconds: Run time, without the time spent waiting for a free worker.
        queue_seconds: Time spent waiting for a free worker.
    """

    status: ExecutionStatus
    text: str
    exception_type: str | None = None
    wall_seconds: float = 0.0
    queue_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One think-act-observe loop. ``observation`` is missing where the trajectory stopped at the action.

    Attributes:
        inherited: The step lies in the prefix which a step-level branch took over from its parent.
    """

    thought: Span
    action: Span
    observation: Span | None
    code: str
    result: ExecutionResult
    inherited: bool = False


class FinishReason(StrEnum):
    """Why a trajectory ended."""

    ANSWERED = "answered"
    """The policy ended its turn."""
    LENGTH = "length"
    ROUNDS_EXHAUSTED = "rounds_exhausted"
    """The policy asked for one more execution than its budget allows; the block was not run."""
    FAILED_CODE_STOP = "failed_code_stop"
    """Training only: nothing after a failed block is sampled, since the filter drops it anyway."""
    STEP_DONE = "step_done"
    """A step-level continuation has run its one action."""
    ABORTED = "aborted"


@dataclass(slots=True)
class Cost:
    """What one trajectory consumed. ``generated = kept + discarded`` holds for tokens sampled on its behalf.

    Attributes:
        prompt_tokens: What its requests conditioned on, added up: each request brings everything before it once more.
        cached_tokens: Those of them whose keys and values the engine still had, so that they were not computed again.
    """

    generated_tokens: int = 0
    discarded_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    sandbox_calls: int = 0
    failed_calls: int = 0
    llm_seconds: float = 0.0
    tool_seconds: float = 0.0
    queue_seconds: float = 0.0
    grade_seconds: float = 0.0

    @property
    def kept_tokens(self) -> int:
        """Tokens that stand in the trajectory."""
        return self.generated_tokens - self.discarded_tokens

    @property
    def cached_share(self) -> float | None:
        """Share of the requests' prompt tokens that were reused; ``None`` without requests, or where nobody counted."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a step-level continuation branched off (spec section E.1)."""

    trajectory_id: str
    step_index: int
    cut: int
    """Token index in the parent: ``ids[:cut]`` is the shared prefix ``q r1 a1 o1 ... r_pre``."""


@dataclass(frozen=True, slots=True)
class DiscardedAttempt:
    """A failed action which self-correction cut away, kept for the record (spec sections F.1, F.2).

    Attributes:
        step_index: Of the failed step.
        cut: Token index from which on everything was removed.
        ids: The removed token ids: the action, what of its thought was given up, and all before it after a restart.
        code: The program that failed.
        result: How.
    """

    step_index: int
    cut: int
    ids: tuple[int, ...]
    code: str
    result: ExecutionResult


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished trajectory.

    Attributes:
        id: Unique within the run.
        ids: All token ids, prompt first.
        spans: Tiling of ``ids``.
        steps: Executed think-act-observe loops, inherited ones first.
        log_probs: float32 ``[len(ids)]``, behaviour log-prob of each token that this trajectory sampled, else 0.
        versions: int32 ``[len(ids)]``, weight version that sampled each token, else ``NO_VERSION``.
        first_sampled: Index of the first token that belongs to this trajectory rather than to its prompt or, for
            a step-level continuation, to the prefix it shares with its siblings (spec section E.5).
        finish: Why it ended.
        answer: What stood in the last box, if anything.
        grade_status: The grader's status, e.g. ``correct``; ``None`` if the answer was not graded.
        reward: ``None`` where nothing may be rewarded: infrastructure errors, continuations without an action.
    """

    id: str
    problem_id: str
    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    steps: tuple[Step, ...]
    log_probs: npt.NDArray[np.float32]
    versions: npt.NDArray[np.int32]
    first_sampled: int
    finish: FinishReason
    cost: Cost = field(default_factory=Cost)
    answer: str | None = None
    grade_status: str | None = None
    reward: float | None = None
    parent: Parent | None = None
    discarded: tuple[DiscardedAttempt, ...] = ()

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        return self.spans[0].end

    @property
    def own_steps(self) -> tuple[Step, ...]:
        """Steps that this trajectory itself sampled."""
        return tuple(step for step in self.steps if not step.inherited)

    @property
    def calls(self) -> int:
        """Executed blocks."""
        return len(self.own_steps)

    @property
    def successful_calls(self) -> int:
        """Executed blocks that succeeded."""
        return sum(step.result.status is ExecutionStatus.OK for step in self.own_steps)

    @property
    def all_calls_succeeded(self) -> bool:
        """At least one executed block, and none failed. Not the same as "no failure" (spec section A.8b)."""
        return self.calls > 0 and self.successful_calls == self.calls

    def loss_mask(self) -> npt.NDArray[np.bool_]:
        """Bool ``[len(ids)]``: tokens the loss may see, which are exactly those sampled here (spec A.9, E.5)."""
        mask = np.zeros(len(self.ids), dtype=np.bool_)
        for span in self.spans:
            if span.kind.written_by_policy:
                mask[max(span.start, self.first_sampled) : span.end] = True
        return mask

    def with_reward(self, reward: float | None) -> "Trajectory":
        """The same trajectory with another reward."""
        return replace(self, reward=reward)


class GroupKind(StrEnum):
    """The level of the hierarchy that a group belongs to."""

    EPISODE = "episode"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Group:
    """G siblings: trajectories of one prompt, or continuations of one failed step's prefix.

    Attributes:
        uid: Unique within the run.
        dropped: Why the group does not reach the learner; ``None`` if it does.
    """

    uid: str
    kind: GroupKind
    problem_id: str
    trajectories: tuple[Trajectory, ...]
    dropped: str | None = None


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
            ids=tuple(self.ids),
            spans=tuple(self.spans),
            steps=tuple(self.steps),
            log_probs=np.asarray(self.log_probs, dtype=np.float32),
            versions=np.asarray(self.versions, dtype=np.int32),
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


def backtrack_cut(step: Step, suffix_tokens: int) -> int:
    """Token index at which a failed step is cut for resampling, inside its own thought (invariant 3).

    ``max(end of o^{t-1}, end of r^t - L_suf)``: never below the border of the previous step, which the release
    crosses when the thought is shorter than ``L_suf`` (spec section E.3 [N]).
    """
    if suffix_tokens < 0:
        raise ValueError(f"suffix_tokens is {suffix_tokens}, must not be negative")
    return max(step.thought.start, step.thought.end - suffix_tokens)
