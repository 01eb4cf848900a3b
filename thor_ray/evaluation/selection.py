"""Choosing one of N candidates without knowing the gold answer (spec F.5, paper section 3.3).

All choices are made in the same way: the best by one figure, ties by the next one, then by the majority answer among
those still tied, then by the lowest index. Nothing is drawn, so the same candidates always give the same choice, in
whatever order they come.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a choice may look at.

    Attributes:
        index: Tells candidates of one problem apart, and decides the last ties.
        answer_class: Candidates of the same class have the same answer (``answers.answer_classes``); ``None`` has none.
        executed: Blocks that were executed; ``None`` where unknown.
        failed: Those of them that failed.
        external_score: Of a reward model, the higher the better; ``None`` ranks below any score.
    """

    index: int
    answer_class: int | None
    executed: int | None = None
    failed: int | None = None
    external_score: float | None = None


class NoCode(StrEnum):
    """How a candidate without any executed code ranks; the paper does not say."""

    AFTER_PERFECT = "after_perfect"
    """After those whose code all passed, before those with a failure."""
    AS_PERFECT = "as_perfect"
    """Like those whose code all passed, as in the official release."""
    LAST = "last"
    """After all that executed code."""


class Method(StrEnum):
    """A way to choose among candidates."""

    SELF_CONSISTENCY = "self_consistency"
    """The most frequent answer."""
    SELF_REWARDED = "self_rewarded"
    """The highest share of successful code, no reward model needed."""
    EXTERNAL = "external"
    """The highest score of a reward model; ties by the share of successful code."""
    SELF_REWARDED_EXTERNAL = "self_rewarded_external"
    """The highest share of successful code; ties by the score of a reward model (the paper's hybrid)."""

    @property
    def needs_code(self) -> bool:
        """Whether it looks at executions first."""
        return self in (Method.SELF_REWARDED, Method.SELF_REWARDED_EXTERNAL)

    @property
    def needs_score(self) -> bool:
        """Whether it looks at scores of a reward model."""
        return self in (Method.EXTERNAL, Method.SELF_REWARDED_EXTERNAL)


Key = Callable[[Candidate], tuple[float, ...]]
"""What candidates are compared by; the greatest is the best."""


class Criterion(StrEnum):
    """What candidates are compared by."""

    CODE_SUCCESS = "code_success"
    """Share of successful code."""
    REWARD_MODEL = "reward_model"
    """Score of a reward model."""
    MAJORITY = "majority"
    """How many of those still tied have the same answer."""
    ORDER = "order"
    """The index; the lowest wins."""


@dataclass(frozen=True, slots=True)
class Round:
    """One comparison of a choice.

    Attributes:
        criterion: What was compared.
        left: Indices of the best by it, in order; at least one.
    """

    criterion: Criterion
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice and how it came about.

    Attributes:
        chosen: The candidate.
        rounds: The comparisons up to the one that left a single candidate; none where there was only one from the start.
    """

    chosen: Candidate
    rounds: tuple[Round, ...]


def choose(candidates: Sequence[Candidate], method: Method, no_code: NoCode = NoCode.AFTER_PERFECT) -> Candidate:
    """The candidate that ``method`` chooses; see `decide`."""
    return decide(candidates, method, no_code).chosen


def decide(candidates: Sequence[Candidate], method: Method, no_code: NoCode = NoCode.AFTER_PERFECT) -> Decision:
    """The candidate that ``method`` chooses, and why.

    Args:
        candidates: At least one; their indices differ.
        method: How.
        no_code: Where candidates without executed code rank.

    Raises:
        ValueError: there is no candidate, two have the same index, or executions are unknown and the method needs them.
    """
    indices = Counter(candidate.index for candidate in candidates)
    if not candidates or indices.most_common(1)[0][1] > 1:
        raise ValueError(f"candidates must exist and have different indices, but are {sorted(indices.elements())}")
    if method.needs_code and any(candidate.executed is None for candidate in candidates):
        raise ValueError(f"{method} needs the executions of every candidate")
    tied = sorted(candidates, key=lambda candidate: candidate.index)
    rounds: list[Round] = []
    for criterion in (*_CRITERIA[method], Criterion.MAJORITY, Criterion.ORDER):
        if len(tied) == 1:
            break
        tied = _best(tied, criterion, no_code)
        rounds.append(Round(criterion, tuple(candidate.index for candidate in tied)))
    return Decision(tied[0], tuple(rounds))


def self_reward(candidate: Candidate, no_code: NoCode = NoCode.AFTER_PERFECT) -> tuple[float, ...]:
    """The share of executed blocks that succeeded, as something to compare by.

    Returns:
        (share, 1 for a share that was measured). A candidate without executed code, or whose executions are unknown,
        gets the place that ``no_code`` gives it.
    """
    if not candidate.executed:
        return _WITHOUT_CODE[no_code]
    return 1 - (candidate.failed or 0) / candidate.executed, 1


def external_reward(candidate: Candidate) -> tuple[float, ...]:
    """The reward model's score as something to compare by; none is below any."""
    return (0.0, 0.0) if candidate.external_score is None else (1.0, candidate.external_score)


_WITHOUT_CODE: Final[dict[NoCode, tuple[float, ...]]] = {
    NoCode.AFTER_PERFECT: (1.0, 0),
    NoCode.AS_PERFECT: (1.0, 1),
    NoCode.LAST: (-1.0, 0),
}


_CRITERIA: Final[dict[Method, tuple[Criterion, ...]]] = {
    Method.SELF_CONSISTENCY: (),
    Method.SELF_REWARDED: (Criterion.CODE_SUCCESS,),
    Method.EXTERNAL: (Criterion.REWARD_MODEL, Criterion.CODE_SUCCESS),
    Method.SELF_REWARDED_EXTERNAL: (Criterion.CODE_SUCCESS, Criterion.REWARD_MODEL),
}
"""What each method compares before the majority and the order decide."""


def _best(tied: Sequence[Candidate], criterion: Criterion, no_code: NoCode) -> list[Candidate]:
    """Those that nobody exceeds by a criterion, in the order in which they came."""
    # Candidates without an answer do not vote, and are chosen only if nobody votes.
    votes = Counter(candidate.answer_class for candidate in tied if candidate.answer_class is not None)
    keys: dict[Criterion, Key] = {
        Criterion.CODE_SUCCESS: lambda candidate: self_reward(candidate, no_code),
        Criterion.REWARD_MODEL: external_reward,
        Criterion.MAJORITY: lambda candidate: (
            (0,) if candidate.answer_class is None else (votes[candidate.answer_class],)
        ),
        Criterion.ORDER: lambda candidate: (-candidate.index,),
    }
    best = max(map(keys[criterion], tied))
    return [candidate for candidate in tied if keys[criterion](candidate) == best]
