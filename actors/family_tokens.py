"""Families whose tokens stay in Ray's object store, while the driver decides what becomes of them.

An actor returns a family as two objects: an outline, which says everything but the tokens, and the tokens of all its
trajectories. The driver reads the outline and passes the other on by reference, to learner ranks or to another engine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from thor_ray.selection import TrajectoryReject
from thor_ray.trajectory import Group, PackedTokens, Tokens, TokenSource

Family = Sequence[Group]
"""One problem's episode group, then the step groups that branch off it."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A family without its tokens.

    Attributes:
        groups: The trajectories say how many tokens they have, and which weights sampled them.
        rejected: Which trajectories may not train, by id, and why: found where their text could be read. Empty while
            some of them have still to go on.
    """

    groups: Family
    rejected: Mapping[str, TrajectoryReject] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class StoredTokens:
    """One trajectory's tokens in the object store; `load` fetches them, and waits for that.

    Attributes:
        index: Of the trajectory in its family.
        length: Tokens in all.
        counts: By weight version, how many tokens it sampled.
        packed: Reference to the family's `PackedTokens`; ``None`` on the way, until the caller knows it.
    """

    index: int
    length: int
    counts: Mapping[int, int]
    packed: Any = None

    def __len__(self) -> int:
        return self.length

    def version_counts(self) -> Mapping[int, int]:
        """By weight version, how many tokens it sampled."""
        return self.counts

    def load(self) -> Tokens:
        """The tokens themselves; on a node that has them their log-probs are not copied.

        Raises:
            ray.exceptions.ObjectLostError: every node that had them is gone.
        """
        packed: PackedTokens = ray.get(self.packed)
        return packed[self.index]


def part(family: Family) -> tuple[Family, PackedTokens]:
    """Takes a family in this process's memory apart, into what `join` and `leave` put together again."""
    loaded = [trajectory.tokens.load() for group in family for trajectory in group.trajectories]
    places = (StoredTokens(index, len(each), each.version_counts()) for index, each in enumerate(loaded))
    return _with_tokens(family, places), PackedTokens.of(loaded)


def leave(family: Family, packed: Any) -> Family:
    """A family whose tokens stay where ``packed``, a reference, says."""
    return _with_tokens(family, (replace(each, packed=packed) for each in _places(family)))


def store(groups: Iterable[Group]) -> list[Group]:
    """Brings the tokens of groups that are here into this node's store, one object a group."""
    return [left for group in groups for left in _stored([group])]


def join(family: Family, packed: PackedTokens) -> Family:
    """A family with its tokens in this process's memory."""
    return _with_tokens(family, (packed[each.index] for each in _places(family)))


def apart(family: Family) -> tuple[Family, Any]:
    """A family as two arguments of a remote call, the tokens by reference if they are in the store: all, or none."""
    places = _places(family)
    return (family, places[0].packed) if places else part(family)


def _stored(family: Family) -> Family:
    outline, tokens = part(family)
    return leave(outline, ray.put(tokens))


def _places(family: Family) -> list[StoredTokens]:
    places = [trajectory.tokens for group in family for trajectory in group.trajectories]
    return [each for each in places if isinstance(each, StoredTokens)]


def _with_tokens(family: Family, tokens: Iterable[TokenSource]) -> list[Group]:
    """The same groups with other tokens, one for each trajectory in order."""
    left = iter(tokens)
    return [
        replace(group, trajectories=tuple(replace(each, tokens=next(left)) for each in group.trajectories))
        for group in family
    ]
