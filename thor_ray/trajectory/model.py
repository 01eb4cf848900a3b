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

from thor_ray.trajectory.tokens import TokenSource


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
    SUSPENDED = "suspended"
    """Interrupted to go on later from its last token; no group that is finished holds one."""


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

    Its tokens may lie in another process's memory: ``ids``, ``log_probs`` and ``versions`` fetch them then, and nothing
    else does.

    Attributes:
        id: Unique within the run.
        tokens: All of them, prompt first.
        spans: Tiling of the tokens.
        steps: Executed think-act-observe loops, inherited ones first.
        first_sampled: Index of the first token that belongs to this trajectory rather than to its prompt or, for
            a step-level continuation, to the prefix it shares with its siblings (spec section E.5).
        finish: Why it ended.
        answer: What stood in the last box, if anything.
        grade_status: The grader's status, e.g. ``correct``; ``None`` if the answer was not graded.
        reward: ``None`` where nothing may be rewarded: infrastructure errors, continuations without an action.
    """

    id: str
    problem_id: str
    tokens: TokenSource
    spans: tuple[Span, ...]
    steps: tuple[Step, ...]
    first_sampled: int
    finish: FinishReason
    cost: Cost = field(default_factory=Cost)
    answer: str | None = None
    grade_status: str | None = None
    reward: float | None = None
    parent: Parent | None = None
    discarded: tuple[DiscardedAttempt, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids, prompt first."""
        return self.tokens.load().ids

    @property
    def log_probs(self) -> npt.NDArray[np.float32]:
        """float32 ``[length]``, behaviour log-prob of each token that this trajectory sampled, else 0."""
        return self.tokens.load().log_probs

    @property
    def versions(self) -> npt.NDArray[np.int32]:
        """int32 ``[length]``, weight version that sampled each token, else ``NO_VERSION``."""
        return self.tokens.load().versions

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.tokens)

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

    @property
    def loss_runs(self) -> tuple[tuple[int, int], ...]:
        """Tokens ``[start, end)`` that the loss may see, which are exactly those sampled here (spec A.9, E.5)."""
        runs = ((max(span.start, self.first_sampled), span.end) for span in self.spans if span.kind.written_by_policy)
        return tuple((start, end) for start, end in runs if start < end)

    def loss_mask(self) -> npt.NDArray[np.bool_]:
        """Bool ``[length]``: tokens the loss may see (``loss_runs``)."""
        mask = np.zeros(self.length, dtype=np.bool_)
        for start, end in self.loss_runs:
            mask[start:end] = True
        return mask

    def loaded(self) -> "Trajectory":
        """The same trajectory with its tokens in this process's memory."""
        return replace(self, tokens=self.tokens.load())

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


def backtrack_cut(step: Step, suffix_tokens: int) -> int:
    """Token index at which a failed step is cut for resampling, inside its own thought (invariant 3).

    ``max(end of o^{t-1}, end of r^t - L_suf)``: never below the border of the previous step, which the release
    crosses when the thought is shorter than ``L_suf`` (spec section E.3 [N]).
    """
    if suffix_tokens < 0:
        raise ValueError(f"suffix_tokens is {suffix_tokens}, must not be negative")
    return max(step.thought.start, step.thought.end - suffix_tokens)
