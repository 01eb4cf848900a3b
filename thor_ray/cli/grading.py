"""``thor grade`` and ``thor audit-golds``: the grader on files."""

from collections import Counter
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from thor_ray.errors import UserError
from thor_ray.grading.cases import PredictionKind

Workers = Annotated[int, typer.Option(min=1, help="Comparisons by algebra at a time, each in a process of its own.")]


def grade(
    cases: Annotated[Path, typer.Argument(help="JSONL with `id`, `gold`, `prediction` and, if need be, `kind`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL of verdicts, one for each case, in order.")],
    kind: Annotated[
        PredictionKind, typer.Option(help="What predictions are: whole responses, or answers out of their boxes.")
    ] = PredictionKind.RESPONSE,
    relative_tolerance: Annotated[
        float | None, typer.Option(help="Let numbers pass that are so near to a gold of measured data; 0.01 is 1 %.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Grade predictions against gold answers; no line of the file can stop it."""
    from fractions import Fraction

    from rich.console import Console

    from thor_ray.files import atomic_path
    from thor_ray.grading import GraderPool, GradingPolicy
    from thor_ray.grading.cases import grade_lines
    from thor_ray.progress import Progress

    tolerance = None if relative_tolerance is None else Fraction(str(relative_tolerance))
    try:
        policy = GradingPolicy(tolerance)
    except ValueError as error:
        raise UserError(str(error), "--relative-tolerance 0.01 lets 1 % pass") from error
    total = _count_lines(cases)
    if not output.parent.is_dir():
        raise UserError(f"there is no directory {output.parent}", "make it, or write somewhere else")
    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    with (
        _opened(cases) as lines,
        atomic_path(output) as temporary,
        temporary.open("w", encoding="ascii") as verdicts,
        GraderPool(workers) as pool,
        Progress(console) as display,
        display.stage("grade", total) as stage,
    ):
        for verdict in grade_lines(lines, pool, kind, policy):
            verdicts.write(verdict.to_json() + "\n")
            counts[verdict.status] += 1
            stage.advance(counts)
    console.print(f"{output}: {counts.total()} verdicts", highlight=False, soft_wrap=True)


def audit_golds(
    file: Annotated[Path, typer.Argument(help="JSONL with `answer` (or `gold`) and, if need be, `id` a line.")],
    workers: Workers = 2,
) -> None:
    """Check gold answers: which ones the grader cannot read, and which no response could ever equal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from thor_ray.grading import GraderPool
    from thor_ray.grading.audit import GoldStatus, audit_golds
    from thor_ray.grading.cases import read_golds

    with _opened(file) as lines, GraderPool(workers) as pool:
        golds, faults = read_golds(lines)
        findings = list(audit_golds(golds, pool))
    counts = Counter(finding.status for finding in findings)
    console = Console()
    table = Table("id", "status", "gold", "why", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        if finding.status is not GoldStatus.READABLE:
            table.add_row(*map(Text, (finding.id, finding.status.value, finding.gold, finding.reason)))
    if table.row_count:
        console.print(table)
    for fault in faults:
        console.print(Text(fault, "red"), soft_wrap=True)
    summary = ", ".join(f"{counts[status]} {status.value}" for status in GoldStatus)
    console.print(
        f"{len(findings)} gold answers: {summary}; {len(faults)} faulty lines", highlight=False, soft_wrap=True
    )
    if faults or counts[GoldStatus.UNUSABLE]:
        raise typer.Exit(1)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _count_lines(path: Path) -> int:
    """Lines that are not blank."""
    with _opened(path) as lines:
        return sum(1 for line in lines if line.strip())
