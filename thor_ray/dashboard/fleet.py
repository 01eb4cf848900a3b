"""What the view of a run's actors shows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from thor_ray.alarms import fleet_alarms
from thor_ray.fleet_record import FleetLook

SATURATION_LOOKS: Final = 6
"""Looks over which the sandbox's saturation is told: about a minute."""


def fleet_object(looks: Sequence[FleetLook], isolation: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """The latest look, and how engines and processes got there.

    Args:
        looks: Oldest first.
        isolation: How programs of each actor are confined, as the run wrote it down.

    Returns:
        ``look`` (``None`` where nobody has looked), ``engines`` (one object each: the ``EngineSeen``, its
        ``tokens_per_second`` by look, its ``isolation`` and
        ``saturation``, the share of its programs' time that they waited for a place, of late), ``seconds`` of each look since the first, ``memory``
        (MiB in all at each look) and ``engine_alarms``.
    """
    latest = looks[-1] if looks else None
    # What another attempt at the run saw were other processes.
    mine = [look for look in looks if latest is not None and look.attempt == latest.attempt]
    levels = list(isolation or ())
    engines = [] if latest is None else latest.engines
    return {
        "look": None if latest is None else asdict(latest),
        "engines": [
            asdict(engine)
            | {
                "tokens_per_second": _rates(mine, number),
                "isolation": levels[number]["level"] if number < len(levels) else None,
                "saturation": _saturation(mine, number),
            }
            for number, engine in enumerate(engines)
        ],
        "seconds": [_seconds(mine[0], look) for look in mine],
        "memory": [sum(process.memory_mib for process in look.processes) for look in mine],
        "engine_alarms": [alarm.words for alarm in fleet_alarms(looks)],
    }


def _rates(looks: Sequence[FleetLook], number: int) -> list[float | None]:
    """Tokens per second that an engine generated since the look before; ``None`` at the first."""
    rates: list[float | None] = [None]
    for before, now in pairwise(looks):
        tokens = now.engines[number].generated_tokens - before.engines[number].generated_tokens
        seconds = _seconds(before, now)
        rates.append(tokens / seconds if seconds > 0 else None)
    return rates[: len(looks)]


def _saturation(looks: Sequence[FleetLook], number: int) -> float | None:
    """Share of waiting in the time of an engine's programs, over the latest looks; ``None`` where it has run none."""
    first, last = looks[-min(len(looks), SATURATION_LOOKS)].engines[number], looks[-1].engines[number]
    # An engine that was replaced began anew.
    waited = max(0.0, last.queue_seconds - first.queue_seconds)
    ran = max(0.0, last.program_seconds - first.program_seconds)
    return waited / (waited + ran) if waited + ran > 0 else None


def _seconds(start: FleetLook, end: FleetLook) -> float:
    return (datetime.fromisoformat(end.time) - datetime.fromisoformat(start.time)).total_seconds()
