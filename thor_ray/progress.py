"""What a run shows while it goes on: one line a stage, live on a terminal, plain lines anywhere else."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich import progress as bars
from rich.console import Console
from rich.table import Table
from rich.text import Text

LINE_SECONDS: Final = 5.0
"""Plain lines come at this distance in time at the least, so that a log stays readable."""

Figure = float | int | str | None
"""Something to show beside a bar; ``None`` is shown as a dash."""


class StageProgress:
    """How far one stage has got; made by ``Progress.stage``."""

    def __init__(self, display: "Progress", name: str, total: int | None, shown: Sequence[str]) -> None:
        self.name = name
        self.total = total
        self.done = 0
        self.figures: dict[str, Figure] = {}
        self.started = time.monotonic()
        self._display = display
        self._shown = shown

    def reach(self, done: int, figures: Mapping[str, Figure] | None = None, total: int | None = None) -> None:
        """``done`` units are done, of ``total`` if that is news; figures that are not to be shown are ignored."""
        self.done = done
        self.total = self.total if total is None else total
        self.figures |= {
            name: value for name, value in (figures or {}).items() if not self._shown or name in self._shown
        }
        self._display.update(self)

    def advance(self, figures: Mapping[str, Figure] | None = None) -> None:
        """One more unit is done."""
        self.reach(self.done + 1, figures)

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; ``None`` before the first unit is done, or where nobody knows how many there are."""
        return self.seconds / self.done * (self.total - self.done) if self.done and self.total is not None else None


class Progress:
    """Shows the stages of a run one after the other; a context manager.

    Args:
        console: Where to; a live display on a terminal, plain lines otherwise.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bars = _bars(self.console) if self.console.is_terminal else None
        self._tasks: dict[str, bars.TaskID] = {}
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None, shown: Sequence[str] = ()) -> Iterator[StageProgress]:
        """Shows one stage while the block runs.

        Args:
            name: What it is called.
            total: How many units it has, if that is known yet.
            shown: Names of the figures to show of those that it is told; all of them without this.
        """
        stage = StageProgress(self, name, total, shown)
        if self._bars is not None:
            self._tasks[name] = self._bars.add_task(name, total=total, figures="")
        else:
            self._line(f"{name}: starts")
        yield stage
        if self._bars is not None:
            self._bars.update(self._tasks[name], total=stage.done, completed=stage.done)
            self._bars.stop_task(self._tasks[name])
        else:
            self._line(f"{name}: done in {duration(stage.seconds)}{_joined(stage.figures, '  ')}")

    def update(self, stage: StageProgress) -> None:
        """Called by the stage whenever it gets further."""
        if self._bars is not None:
            self._bars.update(
                self._tasks[stage.name], completed=stage.done, total=stage.total, figures=_joined(stage.figures)
            )
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            left = "" if stage.seconds_left is None else f"  {duration(stage.seconds_left)} left"
            of = "" if stage.total is None else f"/{stage.total}"
            self._line(f"{stage.name}: {stage.done}{of}{_joined(stage.figures, '  ')}{left}")

    def alarm(self, sentence: str) -> None:
        """Says what deserves a look, above the bars or among the lines."""
        self.console.print(Text.assemble(("alarm: ", "bold yellow"), sentence), soft_wrap=True)

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)
        self._last_line = time.monotonic()


def duration(seconds: float) -> str:
    """A time span for people: ``7 s``, ``2 min 05 s``, ``1 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def figure_text(value: Figure) -> str:
    """A figure for people: three significant digits, thousands grouped, a dash for ``None``."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def print_report_table(report: Mapping[str, Any], console: Console) -> None:
    """Prints what a report says of each evaluated policy, in 80 columns, then its claims and alarms."""
    table = Table("policy", box=None, pad_edge=False, header_style="bold")
    for heading in ("pass@1", "95 %", "use code", "code runs", "tokens", "samples"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, stage in report["stages"].items():
        low, high = stage["pass_at_1_interval"]
        table.add_row(
            policy_label(name),
            percent(stage["pass_at_1"]),
            f"{low * 100:.1f}–{high * 100:.1f}",
            percent(stage["code_ratio"]),
            percent(stage["code_pass_rate"]),
            f"{stage['kept_tokens']:.0f}" + (f" + {cut:.0f} cut" if (cut := stage["discarded_tokens"]) else ""),
            f"{stage['problems']} × {stage['samples_per_problem']}",
        )
    console.print(table)
    for claim in report["claims"]:
        mark = Text("holds ", "bold green") if claim["holds"] else Text("FAILS ", "bold red")
        console.print(mark + Text(claim_text(claim)))
    for alarm in report["alarms"]:
        console.print(Text.assemble(("alarm ", "bold yellow"), alarm["sentence"]), soft_wrap=True)


def percent(share: float | None) -> str:
    """A share as ``61.5 %``; a dash where it is undefined."""
    return "–" if share is None else f"{share * 100:.1f} %"


def policy_label(name: str) -> str:
    """How people call an evaluated policy of the report."""
    return {"rl": "RL", "rl_self_correction": "RL + correction"}.get(name, name.replace("_", " "))


def claim_text(claim: Mapping[str, Any]) -> str:
    """A claim in one line: what, how much, and what it is measured against."""
    return f"{claim['name']}: {figure_text(claim['value'])} ({claim['relation']} {figure_text(claim['threshold'])})"


def _bars(console: Console) -> bars.Progress:
    return bars.Progress(
        bars.TextColumn("[bold]{task.description}"),
        bars.BarColumn(bar_width=24),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[figures]}", style="cyan"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        console=console,
    )


def _joined(figures: Mapping[str, Figure], before: str = "") -> str:
    text = "  ".join(f"{name} {figure_text(value)}" for name, value in figures.items())
    return before + text if text else ""
