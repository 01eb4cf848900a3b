"""The view of TIRGen: each step of each candidate, what the refiner made of it, what its programs printed, and the filters."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from thor_ray.dashboard.highlighting import highlighted
from thor_ray.dashboard.index import FileStamp
from thor_ray.run_directory import RunDirectory
from thor_ray.segments import printable
from thor_ray.tirgen.inspection import FOLDER, STEPS, Candidate, Row, Wanted, candidate_at, candidate_places


@dataclass(frozen=True, slots=True)
class Place:
    """Where a candidate stands in the file, and what can be asked of it without reading it again.

    Attributes:
        start: First byte of its first step.
        end: Behind its last step.
        problem_id: The problem it answers.
        rejected: Rule and reason; ``None`` if it was kept.
        verdicts: Of its steps.
        agreements: Of its claims with their programs' outputs.
    """

    start: int
    end: int
    problem_id: str
    rejected: str | None
    verdicts: frozenset[str]
    agreements: frozenset[str]


class CandidateIndex:
    """The candidates of a run, found in its file without keeping their texts; safe to use from several threads."""

    def __init__(self, directory: RunDirectory) -> None:
        self._path = directory.path / FOLDER / STEPS
        self._lock = Lock()
        self._read: tuple[FileStamp | None, Sequence[Place]] = (None, ())

    def places(self) -> Sequence[Place]:
        """All candidates in the order of the file, which is read again when it has changed; none where there is no file.

        Raises:
            UserError: a line is not what TIRGen writes.
        """
        stamp = FileStamp.of(self._path)
        with self._lock:
            if stamp != self._read[0]:
                self._read = (stamp, () if stamp is None else _places(self._path))
            return self._read[1]

    def candidate(self, place: Place) -> Candidate:
        """One of them with its texts."""
        return candidate_at(self._path, place.start, place.end)


def candidates_object(index: CandidateIndex, wanted: Wanted, offset: int, limit: int) -> dict[str, Any]:
    """One page of the candidates that are wanted.

    Returns:
        ``recorded`` and ``total`` (all, and those that are wanted), ``kept``, ``rules``, ``verdicts`` and ``agreements``
        (how many candidates have each, of all), and ``rows``.
    """
    places = index.places()
    found = [place for place in places if wanted.includes(place)]
    return {
        "recorded": len(places),
        "total": len(found),
        "kept": sum(place.rejected is None for place in places),
        "rules": _counted(place.rejected.partition(":")[0] for place in places if place.rejected is not None),
        "verdicts": _counted(verdict for place in places for verdict in place.verdicts),
        "agreements": _counted(agreement for place in places for agreement in place.agreements),
        "rows": [_candidate_object(index.candidate(place)) for place in found[offset : offset + limit]],
    }


def _places(path: Path) -> list[Place]:
    return [
        Place(start, end, one.problem_id, one.rejected, one.verdicts, one.agreements)
        for start, end, one in candidate_places(path)
    ]


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _candidate_object(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "problem_id": candidate.problem_id,
        "rejected": None if candidate.rejected is None else printable(candidate.rejected),
        "steps": [_step_object(step) for step in candidate.steps],
    }


def _step_object(step: Row) -> dict[str, Any]:
    claim = step["claim"]
    return {
        **{name: printable(str(step[name])) for name in ("text", "verdict", "kind", "conclusion")},
        "reason": printable(str(step.get("verdict_reason", ""))),
        "step": step["step"],
        "blocks": [
            {
                "code": highlighted(printable(block["code"])),
                "status": block["status"],
                "output": printable(block["output"]),
            }
            for block in step["blocks"]
        ],
        "claim": None if claim is None else {name: value and printable(value) for name, value in claim.items()},
    }
