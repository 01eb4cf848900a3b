"""Trajectories on a terminal: who wrote which token, which of them train, and under which weights."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thor_ray.errors import UserError
from thor_ray.records import Record, Stage, read_columns, read_records
from thor_ray.run_directory import RunDirectory
from thor_ray.segments import (
    Decoder,
    Segment,
    discarded_in,
    discarded_texts,
    printable,
    segment_texts,
    segments_of,
    step_of,
)
from thor_ray.texts import figure_text
from thor_ray.trajectory import NO_VERSION, DiscardedAttempt, ExecutionResult, SpanKind, Trajectory

COLOURS: Final = {
    SpanKind.PROMPT: "dim",
    SpanKind.THOUGHT: "cyan",
    SpanKind.ACTION: "green",
    SpanKind.OBSERVATION: "yellow",
    SpanKind.ANSWER: "bold magenta",
}
TRAINED_GUTTER: Final = "┃ "
MASKED_GUTTER: Final = "┊ "


@dataclass(frozen=True, slots=True)
class Selection:
    """Which trajectories to list; ``None`` lets all through.

    Attributes:
        stage: Only of this stage.
        status: ``correct``, ``wrong`` (graded, and not correct) or ``failed-code`` (a block of its own failed).
        kind: ``episode`` or ``step``.
    """

    stage: Stage | None = None
    status: str | None = None
    kind: str | None = None

    def admits(self, row: dict[str, Any]) -> bool:
        """Whether a row of summary columns is wanted."""
        grade = row["grade_status"]
        by_status = {
            None: True,
            "correct": grade == "correct",
            "wrong": grade not in (None, "correct", "error"),
            "failed-code": row["failed_calls"] > 0,
        }
        return by_status[self.status] and self.kind in (None, row["group_kind"])


def stage_named(name: str) -> Stage:
    """The stage of this name.

    Raises:
        UserError: there is none; the known ones are listed.
    """
    try:
        return Stage(name)
    except ValueError:
        raise UserError(f"there is no stage {name!r}", f"stages: {', '.join(Stage)}") from None


def find_record(directory: RunDirectory, trajectory_id: str) -> Record:
    """The record of one trajectory.

    Raises:
        UserError: the run has none of this id; the nearest ones are named.
    """
    ids: list[str] = []
    for path in directory.record_files():
        here = read_columns([path], ["trajectory_id"]).column(0).to_pylist()
        if trajectory_id in here:
            return next(read_records([path], trajectory_id))
        ids += here
    near = difflib.get_close_matches(trajectory_id, ids, n=3, cutoff=0.0) if ids else []
    raise UserError(
        f"run {directory.name} has no trajectory {trajectory_id!r}",
        f"nearest ids: {', '.join(near)}" if near else "it has recorded none yet",
    )


def recent_rows(directory: RunDirectory, selection: Selection, limit: int) -> list[dict[str, Any]]:
    """Summary rows of the latest trajectories that ``selection`` admits, those of the latest file first."""
    rows: list[dict[str, Any]] = []
    stages = () if selection.stage is None else (selection.stage,)
    for path in sorted(directory.record_files(*stages), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        rows += filter(selection.admits, read_columns([path]).to_pylist())
        if len(rows) >= limit:
            break
    return rows[:limit]


def print_list(directory: RunDirectory, selection: Selection, limit: int, console: Console) -> None:
    """Prints the latest trajectories, a line each."""
    rows = recent_rows(directory, selection, limit)
    if not rows:
        console.print(Text(f"run {directory.name} has recorded no such trajectory"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trajectory", overflow="fold")
    for heading in ("stage", "round", "kind", "tokens", "code runs", "ended", "reward"):
        table.add_column(heading, no_wrap=heading != "stage", overflow="fold")
    for row in rows:
        failed = row["failed_calls"]
        code = Text(f"{row['calls'] - failed}/{row['calls']}", "red" if failed else "")
        grade = row["grade_status"] or row["finish"]
        cells = [row["trajectory_id"], row["stage"], str(row["round"]), row["group_kind"], str(row["tokens"])]
        table.add_row(
            *map(Text, cells),
            code,
            Text(printable(grade), "green" if grade == "correct" else "red" if row["grade_status"] else ""),
            Text(figure_text(row["reward"])),
        )
    console.print(table)
    console.print(Text(f"thor show {directory.name} --trajectory ID prints one of them", "dim"))


def print_trajectory(directory: RunDirectory, trajectory_id: str, tokens: bool, console: Console) -> None:
    """Prints one trajectory of a run.

    Raises:
        UserError: the run has no such trajectory.
    """
    print_record(find_record(directory, trajectory_id), directory.decoder(), tokens, console)


def print_record(record: Record, decode: Decoder | None, tokens: bool, console: Console) -> None:
    """Prints what is known of a trajectory, then its segments, or a table of its tokens."""
    for line in _header(record):
        console.print(line, soft_wrap=True)
    if tokens:
        console.print(_token_table(record.trajectory, decode))
        return
    for line in _body(record, decode):
        console.print(line, soft_wrap=True)
    console.print(Text("┃ the loss sees these tokens   ┊ it does not", "dim"))


def _header(record: Record) -> Iterator[Text]:
    trajectory, learned = record.trajectory, record.learned
    yield Text.assemble((trajectory.id, "bold"), f"  problem {trajectory.problem_id}")
    dropped = f", dropped: {record.group_dropped}" if record.group_dropped else ""
    excluded = f", excluded: {learned.excluded}" if learned.excluded else ""
    yield Text(
        f"stage {record.stage}, round {record.round}, {record.group_kind} group {record.group_uid}{dropped}{excluded}"
    )
    gold = "" if record.gold_answer is None else f" (gold {printable(record.gold_answer)})"
    answer = "none" if trajectory.answer is None else printable(trajectory.answer)
    yield Text(
        f"finish {trajectory.finish}, answer {answer}{gold}, grade {trajectory.grade_status or 'none'}, "
        f"reward {figure_text(trajectory.reward)}, advantage {figure_text(learned.advantage)}"
    )
    if trajectory.parent is not None:
        parent = trajectory.parent
        yield Text(
            f"branches from {parent.trajectory_id} in step {parent.step_index}: tokens 0–{parent.cut} are its prefix",
            "bold",
        )
    cost = trajectory.cost
    yield Text(
        f"{trajectory.length} tokens, {int(trajectory.loss_mask().sum())} of them in the loss mask, "
        f"{cost.discarded_tokens} discarded; {_weights(trajectory, slice(None))}"
    )
    yield Text(
        f"seconds: llm {cost.llm_seconds:.2f}, tool {cost.tool_seconds:.2f}, queue {cost.queue_seconds:.2f}, "
        f"grade {cost.grade_seconds:.2f}"
    )
    yield Text()


def _body(record: Record, decode: Decoder | None) -> Iterator[Text]:
    trajectory = record.trajectory
    texts = record.texts or (segment_texts(trajectory, decode) if decode else ())
    attempts = record.discarded_texts or (discarded_texts(trajectory, decode) if decode else ())
    for position, segment in enumerate(segments_of(trajectory)):
        attempts_here = [
            line
            for number, attempt in discarded_in(trajectory, segment)
            for line in _discarded(attempt, number, attempts[number] if attempts else attempt.code)
        ]
        # An attempt was cut away in the middle of a thought, or right before an action.
        if segment.kind is SpanKind.ACTION:
            yield from attempts_here
        yield _heading(trajectory, segment)
        ids = trajectory.ids[segment.start : segment.end]
        text = texts[position] if texts else "ids " + " ".join(map(str, ids))
        gutter = TRAINED_GUTTER if segment.trained else MASKED_GUTTER
        yield from _quoted(text, gutter, COLOURS[segment.kind])
        step = step_of(trajectory, segment)
        if step is not None and segment.kind is SpanKind.ACTION:
            yield _outcome(step.result)
        if segment.kind is not SpanKind.ACTION:
            yield from attempts_here


def _heading(trajectory: Trajectory, segment: Segment) -> Text:
    mask = "trained" if segment.trained else "masked"
    where = f"tokens {segment.start}–{segment.end}"
    figures = _weights(trajectory, slice(segment.start, segment.end))
    return Text.assemble(
        (str(segment.kind), f"reverse {COLOURS[segment.kind]}"), (f" {where}, {mask}, {figures}", "dim")
    )


def _weights(trajectory: Trajectory, where: slice) -> str:
    """Weight versions and behaviour log-probs of some tokens, as far as the policy sampled them."""
    versions = trajectory.versions[where]
    sampled = versions != NO_VERSION
    if not sampled.any():
        return "not sampled here"
    first, last = int(versions[sampled].min()), int(versions[sampled].max())
    log_probs = trajectory.log_probs[where][sampled]
    version = f"version {first}" if first == last else f"versions {first}–{last}"
    return f"{version}, log-prob mean {np.mean(log_probs):.3f} min {np.min(log_probs):.3f}"


def _outcome(result: ExecutionResult) -> Text:
    kind = f" {printable(result.exception_type)}" if result.exception_type else ""
    colour = "red" if result.status.failed else "green"
    return Text(f"→ {result.status}{kind}, {result.wall_seconds * 1000:.0f} ms", colour)


def _discarded(attempt: DiscardedAttempt, number: int, text: str) -> Iterator[Text]:
    yield Text.assemble(
        (f"attempt {number + 1} at step {attempt.step_index}, cut away at token {attempt.cut}: ", "dim"),
        _outcome(attempt.result),
    )
    yield from _quoted(text, "╳ ", "dim strike")


def _quoted(text: str, gutter: str, style: str) -> Iterator[Text]:
    for line in printable(text).split("\n"):
        yield Text.assemble((gutter, "dim"), (line, style))


def _token_table(trajectory: Trajectory, decode: Decoder | None) -> Table:
    table = Table("index", "id", "text", "kind", "mask", "log-prob", "version", box=None)
    mask = trajectory.loss_mask()
    for span in trajectory.spans:
        for index in range(span.start, span.end):
            token, version = trajectory.ids[index], int(trajectory.versions[index])
            sampled = version != NO_VERSION
            text = "–" if decode is None else repr(printable(decode([token])))
            table.add_row(
                str(index),
                str(token),
                Text(text, COLOURS[span.kind]),
                str(span.kind),
                "1" if mask[index] else "0",
                f"{trajectory.log_probs[index]:.4f}" if sampled else "–",
                str(version) if sampled else "–",
            )
    return table
