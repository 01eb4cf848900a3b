"""The stream of groups between engines and learner, as a pure state machine: no cluster, no clock, no I/O.

                    lost, suspended                     stale, filtered, lost too often
                 ┌───────────────────┐        (any) ─────────────────────────────────────► DROPPED, with its reason
    admit        ▼      started      │ finished
    ───────► WAITING ────────────► RUNNING ───────► READY ────────► TAKEN ───────────────► TRAINED
                                                           take            settle

It holds of each group an order (`Ticket`) and, once sampled, the name of where the tokens are (`Part`). Invariants:

* Every admitted group is trained exactly once or dropped exactly once, with a reason (invariant 6). What an aborted or
  presumed-dead attempt still delivers is refused.
* At most ``(max_staleness + 1) * groups_per_update`` groups are in flight (invariant 7, see `admission`).
* No group is taken whose oldest token lies more than ``max_staleness`` versions behind.
* Finished work is not dropped for its age, as long as each version consumes one take: after a take at version ``v`` no
  ready group is left that version ``v + 1`` makes too old. For of the groups admitted up to ``v - max_staleness`` at most
  ``groups_per_update`` are in flight at ``v``, and a take begins with the oldest. What becomes too old is what was still
  being sampled at the last take that could have had it.
* A dropped group makes room for exactly one other.
* With ``max_staleness=0`` which groups are taken, and in which order, does not depend on the order of events.
* `checkpoint.stream_state` and `checkpoint.restore_stream` lose nothing and repeat nothing.

The loop on top, where ``rollouts`` is the stream behind its engines and ``record`` writes what has happened since:

    for update in rollouts.updates():                                       # from where the checkpoint left off
        groups, rejected = await rollouts.take()                            # stale-first, groups_per_update of them
        selection = select_groups(groups, rejected, config.filters)         # episode and step groups come together
        for minibatch in minibatches(selection.kept, config.updates_per_round):
            metrics = learners.update(minibatch)                            # L = w_e · L_episode + w_s · L_step
        rollouts.settle(skipped=learners.skipped)                           # all others have trained
        rollouts.published(learners.publish(engines))                       # engines go on from the next token
        record(update, metrics, rollouts)
        checkpoint(learners, stream_state(rollouts.stream))                 # both or neither

A group here is a problem's G trajectories *and* the step groups that branch off them: branches are sampled as soon as a
step has failed, by the engine that holds the prefix, and what is finished is the whole family. Dynamic sampling calls
``filtered`` instead of ``finished``; where it is off, groups without a gradient are taken too and are settled as skipped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from thor_ray.errors import UserError
from thor_ray.stream.admission import StreamConfig
from thor_ray.stream.cursor import ProblemCursor
from thor_ray.stream.groups import (
    DroppedGroup,
    DropReason,
    GroupState,
    InFlight,
    Part,
    ReadyGroup,
    Ticket,
    group_sequence,
)


class StreamStarvedError(UserError):
    """So many groups were dropped in a row that the learner would wait for ever."""


class StreamError(RuntimeError):
    """A call that does not fit the state of the stream: a fault of the program that drives it."""


class TrajectoryStream:
    """See the module's docstring. Each event costs O(1); a publication or a take O(groups in flight), sorted once.

    Args:
        config: Bounds.
        cursor: Where the problems come from.
        version: Of the weights that the engines serve.
    """

    def __init__(self, config: StreamConfig, cursor: ProblemCursor, version: int = 0) -> None:
        self.config = config
        self.cursor = cursor
        self.version = version
        self.updates_done = 0
        self.unpublished = 0
        """Groups of the last take, from when some of them have trained to when the weights are published."""
        self.trained: set[int] = set()
        """Sequence numbers of all groups that have trained."""
        self.drops: list[DroppedGroup] = []
        """All dropped groups, in order; only ever appended to, so that a log can go on from where it was."""
        self.drops_in_a_row = 0
        self.in_flight: dict[str, InFlight] = {}
        """By uid. To be read, and written by `checkpoint.restore_stream` only."""
        self.admitted = 0
        """Groups admitted in the whole run; also the next sequence number."""
        self._counts: Counter[GroupState] = Counter()

    @property
    def done(self) -> bool:
        """Whether every take that was asked for is settled."""
        return self.updates_done >= self.config.updates

    @property
    def enough(self) -> bool:
        """Whether as many groups are ready as a take wants."""
        return self._counts[GroupState.READY] >= self.config.groups_per_update

    def count(self, state: GroupState) -> int:
        """Groups in a state."""
        return self._counts[state]

    # ------------------------------------------------------------------------------------------------- sampling

    def admit(self, at_most: int) -> list[Ticket]:
        """New groups, as many as there is room for: this is the only place where back-pressure acts.

        Args:
            at_most: What the engines can begin with now; nothing is gained by a queue of more.
        """
        taken = self._counts[GroupState.TAKEN]
        takes_left = self.config.updates - self.updates_done - (taken > 0)
        room = min(at_most, self.config.room(len(self.in_flight) - taken, taken + self.unpublished, takes_left))
        tickets = [Ticket(self.admitted + offset, self.cursor.draw()) for offset in range(room)]
        self.admitted += room
        for ticket in tickets:
            self.insert(InFlight(ticket))
        return tickets

    def started(self, uid: str) -> None:
        """An engine begins with a waiting group, or goes on with it.

        Raises:
            StreamError: it is not waiting.
        """
        group = self._require(uid, GroupState.WAITING)
        group.started_version = self.version
        self._move(group, GroupState.RUNNING)

    def finished(self, uid: str, samples: Part) -> bool:
        """All samples of a running group are there, and have passed the filters.

        Returns:
            Whether the group is ready: ``False`` for one that is settled already, and for one that is too old, which
            is dropped.

        Raises:
            StreamError: the group is not running, or claims tokens of weights that do not exist.
        """
        group = self._running(uid, samples)
        if group is None:
            return False
        if self.config.too_old(samples.oldest_version, self.version):
            self._drop(group, DropReason.STALE)
            return False
        group.samples = samples
        self._move(group, GroupState.READY)
        self.drops_in_a_row = 0
        return True

    def filtered(self, uid: str, reason: str) -> bool:
        """A running group has nothing to learn from, says dynamic sampling; there is room for another one.

        Returns:
            ``False`` for one that is settled already.

        Raises:
            StreamError: the group is not running.
            ValueError: ``reason`` is empty.
        """
        group = self._running(uid)
        if group is not None:
            self._drop(group, reason)
        return group is not None

    def suspended(self, uid: str, partial: Part | None) -> Ticket | None:
        """A running group was interrupted for our own reasons; its tokens are kept.

        Args:
            uid: Of the group.
            partial: Everything sampled so far, earlier attempts included; ``None`` if nothing was.

        Returns:
            The ticket to go on with, or ``None`` if the group is settled, or dropped as too old.

        Raises:
            StreamError: the group is not running, or claims tokens of weights that do not exist.
        """
        group = self._running(uid, partial)
        if group is None:
            return None
        if partial is not None and self.config.too_old(partial.oldest_version, self.version):
            self._drop(group, DropReason.STALE)
            return None
        group.ticket = Ticket(group.ticket.sequence, group.ticket.problem, group.ticket.failures, partial)
        self._wait_again(group)
        return group.ticket

    def lost(self, uid: str, *, suspect: bool = True) -> Ticket | None:
        """The engine or the call that sampled a running group failed. What it had before that attempt is still there.

        Args:
            uid: Of the group.
            suspect: Whether the group may be the cause, so that the attempt counts.

        Returns:
            The ticket for another attempt, or ``None`` if the group is settled, or dropped after too many attempts.

        Raises:
            StreamError: the group is not running.
        """
        group = self._running(uid)
        if group is None:
            return None
        if suspect:
            group.ticket = group.ticket.after_failure()
        if group.ticket.failures >= self.config.max_attempts:
            self._drop(group, DropReason.LOST)
            return None
        self._wait_again(group)
        return group.ticket

    def tail(self) -> list[str]:
        """Running groups to suspend, as the next take has enough without them; empty unless ``over_sample`` is set."""
        if self.config.over_sample is None or not self.enough:
            return []
        return [uid for uid, group in self.in_flight.items() if group.state is GroupState.RUNNING]

    # ------------------------------------------------------------------------------------------------- learning

    def take(self) -> list[ReadyGroup]:
        """The groups for the next update, those with the oldest tokens first; empty if there are not enough yet.

        Raises:
            StreamError: the groups taken before are not settled, or what they changed is not published.
            StreamStarvedError: nothing but dropped groups for too long.
        """
        if self._counts[GroupState.TAKEN] or self.unpublished:
            raise StreamError("the groups that were taken before have to be settled, and weights published, first")
        if self.drops_in_a_row >= self.config.starved_after:
            reasons = Counter(drop.reason for drop in self.drops[-self.drops_in_a_row :])
            raise StreamStarvedError(
                f"the last {self.drops_in_a_row} groups were all dropped: "
                + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()),
                "choose problems nearer to what the policy can do, relax rl.filters, or look at why groups are lost",
            )
        wanted = self.config.groups_per_update
        if self.done or not self.enough:
            return []
        ready = [
            (group.samples.oldest_version, group.ticket.sequence, group, group.samples)
            for group in self.in_flight.values()
            if group.state is GroupState.READY and group.samples is not None
        ]
        ready.sort(key=lambda item: item[:2])
        for _, _, group, _ in ready[:wanted]:
            self._move(group, GroupState.TAKEN)
        return [ReadyGroup(group.ticket.uid, group.ticket.problem, part) for _, _, group, part in ready[:wanted]]

    def settle(self, skipped: Mapping[str, str] | None = None) -> None:
        """The learner is through with what it took: all of it has trained, but for what it skipped.

        Weights are to be published next, unless all of it was skipped, so that they are what they were.

        Args:
            skipped: Reasons by uid.

        Raises:
            StreamError: nothing is taken, or a skipped group is not among what is.
        """
        skipped = skipped or {}
        taken = [group for group in self.in_flight.values() if group.state is GroupState.TAKEN]
        strangers = skipped.keys() - {group.ticket.uid for group in taken}
        if not taken or strangers:
            raise StreamError(f"not taken, and so not to be settled: {sorted(strangers) or 'anything'}")
        if not all(skipped.values()):
            raise ValueError("no group is skipped without a reason")
        for group in taken:
            if (reason := skipped.get(group.ticket.uid)) is not None:
                self._drop(group, reason)
            else:
                self._remove(group)
                self.trained.add(group.ticket.sequence)
        self.updates_done += 1
        self.unpublished = len(taken) if len(skipped) < len(taken) else 0

    def published(self, version: int) -> list[str]:
        """The engines serve another version. Groups that have become too old by it are dropped.

        Returns:
            Their uids; those of them that are being sampled are to be aborted.

        Raises:
            StreamError: it is not the next version, or taken groups are not settled.
        """
        if version != self.version + 1:
            raise StreamError(f"version {version} was published after version {self.version}")
        if self._counts[GroupState.TAKEN]:
            raise StreamError("the groups that were taken have to be settled before weights are published")
        self.version, self.unpublished = version, 0
        return self.drop_expired()

    def drop_expired(self) -> list[str]:
        """Drops what is too old by now, and says what that was."""
        expired = [
            group
            for group in self.in_flight.values()
            if (oldest := group.oldest_version) is not None and self.config.too_old(oldest, self.version)
        ]
        for group in expired:
            self._drop(group, DropReason.STALE)
        return [group.ticket.uid for group in expired]

    # -------------------------------------------------------------------------------------------------- inside

    def insert(self, group: InFlight) -> None:
        """Adds a group that was just admitted or, when a checkpoint is restored, one from there."""
        self.in_flight[group.ticket.uid] = group
        self._counts[group.state] += 1

    def is_settled(self, uid: str) -> bool:
        """Whether a group was admitted and is not in flight any more: it has trained, or was dropped.

        Raises:
            ValueError: ``uid`` is not of a stream.
        """
        return uid not in self.in_flight and group_sequence(uid) < self.admitted

    def _running(self, uid: str, samples: Part | None = None) -> InFlight | None:
        """A group of which an engine tells news; ``None`` if it is settled, so that the news come too late."""
        if samples is not None and samples.newest_version > self.version + 1:
            # One ahead is right: engines may have been updated before this stream was told.
            raise StreamError(f"{uid} has tokens of version {samples.newest_version}, published is {self.version}")
        return None if self.is_settled(uid) else self._require(uid, GroupState.RUNNING)

    def _require(self, uid: str, state: GroupState) -> InFlight:
        group = self.in_flight.get(uid)
        if group is None or group.state is not state:
            found = "unknown" if group is None else group.state.value
            raise StreamError(f"group {uid} is {found}, not {state}")
        return group

    def _wait_again(self, group: InFlight) -> None:
        group.started_version = None
        self._move(group, GroupState.WAITING)

    def _move(self, group: InFlight, state: GroupState) -> None:
        self._counts[group.state] -= 1
        self._counts[state] += 1
        group.state = state

    def _remove(self, group: InFlight) -> None:
        self._counts[group.state] -= 1
        del self.in_flight[group.ticket.uid]

    def _drop(self, group: InFlight, reason: str) -> None:
        if not reason:
            raise ValueError(f"{group.ticket.uid}: no group is dropped without a reason")
        self._remove(group)
        self.drops.append(DroppedGroup(group.ticket.sequence, group.ticket.problem, str(reason), self.version))
        self.drops_in_a_row += 1


def drop_counts(drops: Sequence[DroppedGroup]) -> dict[str, int]:
    """Dropped groups by reason, the most frequent first."""
    return dict(Counter(drop.reason for drop in drops).most_common())
