"""What the stream knows of one group: never its tokens, only where they are and which weights sampled them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from thor_ray.trajectory import Group

VersionCounts = Mapping[int, int]
"""By weight version, how many tokens it sampled."""


class GroupState(StrEnum):
    """Where an admitted group is that is neither trained nor dropped."""

    WAITING = "waiting"
    """Not started, or suspended, or lost with its engine."""
    RUNNING = "running"
    READY = "ready"
    TAKEN = "taken"
    """The learner has it."""


class DropReason(StrEnum):
    """Why the stream itself drops a group. Filters and learners bring reasons of their own."""

    STALE = "stale"
    """Its oldest token was sampled too many versions ago."""
    LOST = "lost"
    """The engines or calls that sampled it failed, as often as ``max_attempts`` allows."""


@dataclass(frozen=True, slots=True)
class Part:
    """Sampled tokens that lie somewhere.

    Attributes:
        reference: Names the stored payload, such as a record of the run directory; the stream never opens it. It must
            outlive the process for as long as a checkpoint names it.
        versions: Sampled tokens by weight version; at least one token.

    Raises:
        ValueError: ``versions`` has no token, or a negative count or version.
    """

    reference: str
    versions: VersionCounts

    def __post_init__(self) -> None:
        if not any(self.versions.values()):
            raise ValueError(f"{self.reference}: no token was sampled")
        if min(self.versions) < 0 or min(self.versions.values()) < 0:
            raise ValueError(f"{self.reference}: {dict(self.versions)} has a negative version or count")

    @property
    def oldest_version(self) -> int:
        """Of all tokens."""
        return min(version for version, tokens in self.versions.items() if tokens)

    @property
    def newest_version(self) -> int:
        """Of all tokens."""
        return max(version for version, tokens in self.versions.items() if tokens)


@dataclass(frozen=True, slots=True)
class Ticket:
    """The order to sample one group.

    Attributes:
        sequence: 0 for the first group of the run, then 1, without a gap.
        problem: Index of the problem.
        failures: How many engines, or calls, this group was lost with.
        partial: What was sampled before it was suspended; sampling goes on from there.
    """

    sequence: int
    problem: int
    failures: int = 0
    partial: Part | None = None

    @property
    def uid(self) -> str:
        """Unique within the run; the seed of its samples follows from it, so another attempt asks for the same."""
        return group_uid(self.sequence)

    def after_failure(self) -> "Ticket":
        """The ticket for the next attempt."""
        return replace(self, failures=self.failures + 1)


@dataclass(frozen=True, slots=True)
class ReadyGroup:
    """A finished group, for the learner.

    Attributes:
        samples: Where they are, and their versions.
    """

    uid: str
    problem: int
    samples: Part


@dataclass(frozen=True, slots=True)
class DroppedGroup:
    """A group that never trains.

    Attributes:
        sequence: As in its ticket.
        reason: A ``DropReason``, or that of a filter or the learner.
        version: Weights of the learner at that time.
    """

    sequence: int
    problem: int
    reason: str
    version: int

    @property
    def uid(self) -> str:
        return group_uid(self.sequence)


@dataclass(slots=True)
class InFlight:
    """A group that was admitted and is neither trained nor dropped.

    Attributes:
        started_version: Weights at the start of the current attempt; ``None`` unless it is running.
        samples: The finished group; ``None`` before it is ready.
    """

    ticket: Ticket
    state: GroupState = GroupState.WAITING
    started_version: int | None = None
    samples: Part | None = None

    @property
    def oldest_version(self) -> int | None:
        """Of the tokens it has, or may have by now; ``None`` if it has none."""
        if self.samples is not None:
            return self.samples.oldest_version
        if self.ticket.partial is not None:
            return self.ticket.partial.oldest_version
        return self.started_version


def group_uid(sequence: int) -> str:
    """The uid of the group that was admitted as number ``sequence``."""
    return f"g{sequence:06d}"


def group_sequence(uid: str) -> int:
    """The number that ``group_uid`` made a uid of.

    Raises:
        ValueError: ``uid`` is not of a stream.
    """
    digits = uid.removeprefix("g")
    if not digits.isdecimal() or group_uid(int(digits)) != uid:
        raise ValueError(f"{uid!r} is not the uid of a group of the stream")
    return int(digits)


def version_counts(group: Group) -> VersionCounts:
    """Sampled tokens of a group by the version that each of them carries."""
    counts: Counter[int] = Counter()
    for trajectory in group.trajectories:
        counts.update(trajectory.tokens.version_counts())
    return counts
