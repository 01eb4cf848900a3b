"""Problems whose groups never reach the learner, and why: one line each in ``logs/dropped.jsonl`` (invariant 6).

Records hold trajectories. A group that was given up before it was finished may have none, and still is accounted for.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

DROPS_FILE: Final = "dropped.jsonl"
"""In the run's ``logs/``. A round that is done again, after a resume, says again what it dropped, as another attempt."""


@dataclass(frozen=True, slots=True)
class DroppedProblem:
    """One group of the stream that was dropped.

    Attributes:
        uid: The group's, as in the records if it has trajectories there.
        problem_id: Of its problem.
        reason: Why.
        version: Of the weights that the learner held then.
    """

    uid: str
    problem_id: str
    reason: str
    version: int


def append_drops(logs: Path, attempt: int, round_index: int, drops: Iterable[DroppedProblem]) -> None:
    """Writes down what was dropped up to a round, and after the one before.

    Args:
        logs: The run's directory of logs.
        attempt: Which start of the run, from 1.
        round_index: The round whose take they came with.
        drops: In the order in which they were dropped.
    """
    lines = [json.dumps({"attempt": attempt, "round": round_index, **asdict(drop)}) + "\n" for drop in drops]
    if lines:
        with (logs / DROPS_FILE).open("a", encoding="utf-8") as file:
            file.write("".join(lines))


def read_drops(logs: Path) -> list[DroppedProblem]:
    """All that was dropped, in order; empty where nothing was."""
    if not (logs / DROPS_FILE).is_file():
        return []
    rows = [json.loads(line) for line in (logs / DROPS_FILE).read_text(encoding="utf-8").splitlines()]
    return [DroppedProblem(row["uid"], row["problem_id"], row["reason"], row["version"]) for row in rows]
