"""What the processes of a run were seen to do: one line a look in ``logs/fleet.jsonl``, written while the run goes on.

An engine's life is told by the tokens that it generates, not by its process: a look asks for totals and changes nothing,
so that what is sampled does not depend on who watches.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

FLEET_FILE: Final = "fleet.jsonl"
"""In the run's ``logs/``."""

TAIL_BYTES: Final = 256 * 1024
"""What readers look at of a long run: some hundreds of looks."""


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """One rollout actor at one look.

    Attributes:
        answers: Whether it told its figures in time; the other fields are those of the last time it did.
        version: Of the weights that it serves; ``None`` before it has ever answered.
        generated_tokens: Since its start.
        generated_at: When this total was first seen, ISO 8601 in UTC; ``None`` before its first token.
        sandbox_calls: Programs that it has run.
        infra_errors: Programs that our own failure kept from being run.
        program_seconds: That programs ran, added up.
        queue_seconds: That they waited for a place in the sandbox.
    """

    answers: bool
    version: int | None = None
    generated_tokens: int = 0
    generated_at: str | None = None
    sandbox_calls: int = 0
    infra_errors: int = 0
    program_seconds: float = 0.0
    queue_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """One process of the run on the machine that started it.

    Attributes:
        name: What it is, e.g. ``RolloutActor``.
        memory_mib: Resident memory, shared pages included.
    """

    pid: int
    name: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class FleetLook:
    """All of a run's actors at one moment.

    Attributes:
        time: ISO 8601 in UTC.
        attempt: Which start of the run, from 1.
        learner_version: Of the weights that the learners published last; ``None`` without learners.
        engines: By their number.
        processes: Those that could be seen; none in a cluster that others had started.
    """

    time: str
    attempt: int
    learner_version: int | None
    engines: tuple[EngineSeen, ...]
    processes: tuple[ProcessSeen, ...] = ()

    def to_line(self) -> bytes:
        """One line of the file."""
        return json.dumps(asdict(self), allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "FleetLook":
        """The look that a line holds.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        engines = tuple(EngineSeen(**engine) for engine in tree["engines"])
        processes = tuple(ProcessSeen(**process) for process in tree["processes"])
        return cls(tree["time"], tree["attempt"], tree["learner_version"], engines, processes)


def read_looks(logs: Path) -> list[FleetLook]:
    """The latest looks of a run, oldest first; none where nobody looked. What is no whole line is passed over."""
    try:
        with (logs / FLEET_FILE).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    return list(_looks(lines[1:-1] if size > TAIL_BYTES else lines[:-1]))


def _looks(lines: Sequence[bytes]) -> Iterator[FleetLook]:
    for line in lines:
        try:
            yield FleetLook.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
