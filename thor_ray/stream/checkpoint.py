"""A stream as plain JSON and back: what has trained, not where a data loader stood.

Belongs into the same checkpoint as the learner's weights, taken after a publication. Finished groups come back as
finished, taken ones too, since the weights beside them have not seen them; running ones wait for another attempt, with
what they had when they were last suspended.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from thor_ray.errors import UserError
from thor_ray.stream.admission import StreamConfig
from thor_ray.stream.cursor import ProblemCursor
from thor_ray.stream.groups import DroppedGroup, GroupState, InFlight, Part, Ticket
from thor_ray.stream.stream import TrajectoryStream

SCHEMA: Final = 1
"""Counts up whenever the state's fields change."""


def stream_state(stream: TrajectoryStream) -> dict[str, Any]:
    """Everything that `restore_stream` needs, of types that JSON knows."""
    return {
        "schema": SCHEMA,
        "version": stream.version,
        "updates_done": stream.updates_done,
        "unpublished": stream.unpublished,
        "admitted": stream.admitted,
        "drops_in_a_row": stream.drops_in_a_row,
        "cursor": {"count": stream.cursor.count, "seed": stream.cursor.seed, "drawn": stream.cursor.drawn},
        "trained": as_ranges(stream.trained),
        "dropped": [[drop.sequence, drop.problem, drop.reason, drop.version] for drop in stream.drops],
        "in_flight": [_group_state(group) for group in stream.in_flight.values()],
    }


def restore_stream(config: StreamConfig, state: dict[str, Any]) -> TrajectoryStream:
    """The stream that `stream_state` described; a smaller ``max_staleness`` drops what has become too old.

    Raises:
        UserError: the state was written by another version of the schema, or does not add up.
    """
    if state.get("schema") != SCHEMA:
        raise UserError(f"the stream's checkpoint has schema {state.get('schema')}, this version reads {SCHEMA}")
    stream = TrajectoryStream(config, ProblemCursor(**state["cursor"]), state["version"])
    stream.updates_done, stream.admitted = state["updates_done"], state["admitted"]
    stream.unpublished = state["unpublished"]
    stream.drops_in_a_row = state["drops_in_a_row"]
    stream.trained = set(from_ranges(state["trained"]))
    stream.drops = [DroppedGroup(*fields) for fields in state["dropped"]]
    for entry in state["in_flight"]:
        stream.insert(_group(entry))
    known = [*stream.trained, *(drop.sequence for drop in stream.drops)]
    known += [group.ticket.sequence for group in stream.in_flight.values()]
    if sorted(known) != list(range(stream.admitted)):
        raise UserError(
            f"the stream's checkpoint is damaged: of {stream.admitted} admitted groups it accounts for {len(known)}, "
            f"{len(set(known))} of them different",
            "resume from an older checkpoint",
        )
    stream.drop_expired()
    return stream


def waiting_tickets(stream: TrajectoryStream) -> list[Ticket]:
    """Tickets that were handed out before and have to be again after a restore, oldest first."""
    waiting = [group.ticket for group in stream.in_flight.values() if group.state is GroupState.WAITING]
    return sorted(waiting, key=lambda ticket: ticket.sequence)


def as_ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Different whole numbers as ``[first, last]`` of each unbroken run, in order: short where few are missing."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def from_ranges(ranges: Iterable[Sequence[int]]) -> list[int]:
    """What `as_ranges` was given, in order."""
    return [number for first, last in ranges for number in range(first, last + 1)]


def _group_state(group: InFlight) -> dict[str, Any]:
    ticket = group.ticket
    return {
        "sequence": ticket.sequence,
        "problem": ticket.problem,
        "failures": ticket.failures,
        "partial": _part_state(ticket.partial),
        "samples": _part_state(group.samples),
    }


def _group(state: dict[str, Any]) -> InFlight:
    samples = _part(state["samples"])
    ticket = Ticket(state["sequence"], state["problem"], state["failures"], _part(state["partial"]))
    return InFlight(ticket, GroupState.WAITING if samples is None else GroupState.READY, samples=samples)


def _part_state(part: Part | None) -> dict[str, Any] | None:
    # JSON knows no keys but strings, so versions are pairs.
    return None if part is None else {"reference": part.reference, "versions": [list(i) for i in part.versions.items()]}


def _part(state: dict[str, Any] | None) -> Part | None:
    return None if state is None else Part(state["reference"], dict(state["versions"]))
