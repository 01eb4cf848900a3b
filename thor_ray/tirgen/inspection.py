"""What became of each step of each candidate, read back from ``steps.jsonl``: for a terminal, and as a page."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Protocol

import jinja2
from rich.text import Text

from thor_ray.errors import UserError

STEPS: Final = "steps.jsonl"
FOLDER: Final = "tirgen"
"""Of a run directory, where its ``steps.jsonl`` lies."""

Row = dict[str, Any]
"""One step, as ``thor_ray.tirgen.export.step_rows`` writes it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One rewritten solution.

    Attributes:
        id: Of the trajectory.
        problem_id: The problem it answers.
        rejected: Rule and reason; ``None`` if it was kept.
        steps: In order.
    """

    id: str
    problem_id: str
    rejected: str | None
    steps: tuple[Row, ...]

    @property
    def verdicts(self) -> frozenset[str]:
        """Of its steps."""
        return frozenset(step["verdict"] for step in self.steps)

    @property
    def agreements(self) -> frozenset[str]:
        """Of its claims with their programs' outputs."""
        return frozenset(step["claim"]["agreement"] for step in self.steps if step["claim"] is not None)


class Judged(Protocol):
    """What can be asked of a candidate."""

    @property
    def problem_id(self) -> str: ...
    @property
    def rejected(self) -> str | None: ...
    @property
    def verdicts(self) -> frozenset[str]: ...
    @property
    def agreements(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which candidates to show; every condition that is given must hold.

    Attributes:
        problem: Id of the problem.
        kept: Kept ones or rejected ones.
        rule: Rejected by this rule.
        verdict: With a step of this verdict.
        agreement: With a claim that compares so to its program's output.
    """

    problem: str | None = None
    kept: bool | None = None
    rule: str | None = None
    verdict: str | None = None
    agreement: str | None = None

    def includes(self, candidate: Judged) -> bool:
        """Whether a candidate is to be shown."""
        return (
            self.problem in (None, candidate.problem_id)
            and self.kept in (None, candidate.rejected is None)
            and self.rule in (None, (candidate.rejected or "").partition(":")[0])
            and (self.verdict is None or self.verdict in candidate.verdicts)
            and (self.agreement is None or self.agreement in candidate.agreements)
        )


def steps_file(place: Path) -> Path:
    """The ``steps.jsonl`` of a run, or of what ``thor tirgen rewrite`` has written.

    Raises:
        UserError: there is none.
    """
    for path in (place, place / STEPS, place / FOLDER / STEPS):
        if path.is_file():
            return path
    raise UserError(
        f"{place} holds no {STEPS}", "give a run of `thor tirgen`, or what `thor tirgen rewrite --output` has written"
    )


def read_candidates(path: Path) -> Iterator[Candidate]:
    """The candidates of a file, one at a time, in its order.

    Raises:
        UserError: a line is not what ``step_rows`` writes.
    """
    return (candidate for _, _, candidate in candidate_places(path))


def candidate_places(path: Path) -> Iterator[tuple[int, int, Candidate]]:
    """The same with the bytes of the file from which, and up to which, each can be read again (``candidate_at``)."""
    with path.open("rb") as lines:
        start = 0
        for _, group in groupby(_rows(lines, path), key=lambda row: row[0]["id"]):
            found = list(group)
            end = start + sum(size for _, size in found)
            yield start, end, _candidate([row for row, _ in found])
            start = end


def candidate_at(path: Path, start: int, end: int) -> Candidate:
    """One candidate, from its place in the file."""
    with path.open("rb") as file:
        file.seek(start)
        return _candidate([row for row, _ in _rows(file.read(end - start).splitlines(keepends=True), path)])


def _rows(lines: Iterable[bytes], path: Path) -> Iterator[tuple[Row, int]]:
    """Each row with the length of its line in bytes."""
    for number, line in enumerate(lines, start=1):
        yield _row(line, number, path), len(line)


def _candidate(steps: Sequence[Row]) -> Candidate:
    return Candidate(steps[0]["id"], steps[0]["problem_id"], steps[0]["rejected"], tuple(steps))


def candidate_text(candidate: Candidate) -> Text:
    """One candidate for a terminal: of each step the text, the verdict, the programs with their outputs, and the claim."""
    text = Text()
    outcome = ("kept", "bold green") if candidate.rejected is None else (f"rejected, {candidate.rejected}", "bold red")
    text.append(f"{candidate.id}  ", style="bold").append(f"problem {candidate.problem_id}  ").append(*outcome)
    for step in candidate.steps:
        text.append(f"\n\n  step {step['step']}  ", style="dim").append(step["verdict"], style="cyan")
        if step["kind"]:
            text.append(f", {step['kind']}", style="cyan")
        text.append(f"\n{_indented(step['text'])}")
        for block in step["blocks"]:
            text.append(f"\n{_indented(block['code'], 6)}", style="yellow")
            style = "green" if block["status"] == "ok" else "red"
            text.append(f"\n{_indented(block['output'], 6)}", style=style).append(f"  [{block['status']}]", style="dim")
        if step["claim"] is not None:
            text.append(f"\n    {claim_line(step['claim'])}", style="bold" if _differs(step["claim"]) else "")
    return text.append("\n")


def claim_line(claim: Row) -> str:
    """``3 * 4: stated 12, printed 12 (same)``."""
    printed = "nothing printed" if claim["observed"] is None else f"printed {claim['observed']}"
    return f"{claim['expression']}: stated {claim['claimed']}, {printed} ({claim['agreement']})"


def candidates_page(title: str, candidates: Sequence[Candidate], total: int) -> str:
    """A page of candidates, in one file without outside references.

    Args:
        title: What they come from.
        candidates: Those to show.
        total: How many there are to choose from.
    """
    return _template().render(title=title, candidates=candidates, total=total)


def _differs(claim: Row) -> bool:
    return bool(claim["agreement"] not in ("same", "rounded"))


def _indented(text: str, spaces: int = 4) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())


def _row(line: bytes, number: int, path: Path) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}:{number} is not JSON", "let TIRGen write the file again") from error
    missing = _FIELDS - set(row) if isinstance(row, dict) else _FIELDS
    if missing:
        raise UserError(f"{path}:{number} lacks {', '.join(sorted(missing))}", "let TIRGen write the file again")
    return dict(row)


_FIELDS: Final = frozenset(
    ("id", "problem_id", "rejected", "step", "text", "verdict", "reasoning", "kind", "blocks", "claim", "conclusion")
)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(loader=jinja2.PackageLoader("thor_ray"), autoescape=True, trim_blocks=True)
    environment.filters["claim_line"] = claim_line
    environment.tests["differing"] = _differs
    return environment.get_template("tirgen.html")


def chosen(candidates: Iterable[Candidate], wanted: Wanted, limit: int | None) -> tuple[list[Candidate], int, int]:
    """The first ``limit`` candidates that are wanted, how many are wanted, and how many there are."""
    shown: list[Candidate] = []
    matching = total = 0
    for candidate in candidates:
        total += 1
        if wanted.includes(candidate):
            matching += 1
            if limit is None or len(shown) < limit:
                shown.append(candidate)
    return shown, matching, total
