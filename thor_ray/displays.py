"""Where the progress of a run is shown: live on a terminal, as lines, as JSON, or not at all."""

import json
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from rich import progress as bars
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from thor_ray.progress_format import ProgressFormat
from thor_ray.texts import Figure, duration, figure_text

if TYPE_CHECKING:
    from thor_ray.progress import StageProgress

LINE_SECONDS: Final = 5.0
"""Plain lines come at this distance in time at the least, so that a log stays readable."""

TABLE_ROWS: Final = 5
"""Latest reports of a stage that a terminal shows below the bars."""


class Display:
    """Is told how stages go, one at a time, and shows nothing but alarms, on standard error; others show more."""

    def start(self) -> None:
        """Before anything is shown."""

    def stop(self) -> None:
        """After everything; also where an error ends the run."""

    def began(self, stage: "StageProgress") -> None:
        """A stage begins."""

    def moved(self, stage: "StageProgress", figures: Mapping[str, Figure]) -> None:
        """A stage got further; ``figures`` are those of this report alone."""

    def ended(self, stage: "StageProgress") -> None:
        """A stage is done."""

    def say(self, text: str) -> None:
        """Something worth knowing, once."""

    def alarm(self, sentence: str) -> None:
        """Something that deserves a look."""
        Console(stderr=True).print(_alarm(sentence), soft_wrap=True)


def display_for(form: ProgressFormat, console: Console) -> Display:
    """The display of a format; ``console`` says whether it is a terminal."""
    match form:
        case ProgressFormat.JSON:
            return JsonDisplay(console)
        case ProgressFormat.QUIET:
            return Display()
        case ProgressFormat.AUTO if console.is_terminal:
            return LiveDisplay(console)
    return LinesDisplay(console)


class LiveDisplay(Display):
    """A bar a stage, and below them the latest figures of the present one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = bars.Progress(
            bars.TextColumn("[bold]{task.description}"),
            bars.BarColumn(bar_width=24),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[figures]}", style="cyan"),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            console=console,
        )
        self._live = Live(self._bars, console=console)
        self._tasks: dict[str, bars.TaskID] = {}
        self._rows: deque[tuple[int, Mapping[str, Figure]]] = deque(maxlen=TABLE_ROWS)

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._rows.clear()
        self._live.update(self._bars, refresh=True)
        self._live.stop()

    def began(self, stage: "StageProgress") -> None:
        self._rows.clear()
        self._tasks[stage.name] = self._bars.add_task(stage.name, total=stage.total, figures="")

    def moved(self, stage: "StageProgress", figures: Mapping[str, Figure]) -> None:
        self._bars.update(self._tasks[stage.name], completed=stage.done, total=stage.total)
        if not figures:
            return
        if stage.shown:
            self._rows.append((stage.done, figures))
            self._live.update(Group(self._bars, self._table(stage)), refresh=True)
        else:
            self._bars.update(self._tasks[stage.name], figures=joined(stage.figures))

    def ended(self, stage: "StageProgress") -> None:
        task = self._tasks[stage.name]
        self._bars.update(task, total=stage.done, completed=stage.done, figures=joined(stage.figures))
        self._bars.stop_task(task)
        self._live.update(self._bars)

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def alarm(self, sentence: str) -> None:
        self._console.print(_alarm(sentence), soft_wrap=True)

    def _table(self, stage: "StageProgress") -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("", justify="right", no_wrap=True)
        for name in stage.shown:
            table.add_column(name, justify="right", no_wrap=True)
        for done, figures in self._rows:
            table.add_row(str(done), *(figure_text(figures.get(name)) for name in stage.shown))
        return table


class LinesDisplay(Display):
    """Plain lines, seldom enough for a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = 0.0

    def began(self, stage: "StageProgress") -> None:
        self.say(f"{stage.name}: starts")

    def moved(self, stage: "StageProgress", figures: Mapping[str, Figure]) -> None:
        if time.monotonic() - self._last_line < LINE_SECONDS:
            return
        left = "" if stage.seconds_left is None else f"  {duration(stage.seconds_left)} left"
        of = "" if stage.total is None else f"/{stage.total}"
        self.say(f"{stage.name}: {stage.done}{of}{_after(joined(stage.figures))}{left}")

    def ended(self, stage: "StageProgress") -> None:
        self.say(f"{stage.name}: done in {duration(stage.seconds)}{_after(joined(stage.figures))}")

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)
        self._last_line = time.monotonic()

    def alarm(self, sentence: str) -> None:
        self._console.print(_alarm(sentence), soft_wrap=True)


class JsonDisplay(Display):
    """One JSON object a line: ``stage_began``, ``stage_moved``, ``stage_ended``, ``note``, ``alarm``.

    Those about a stage have ``stage``, ``done``, ``total``, ``seconds``, ``seconds_left`` and ``figures``.
    """

    def __init__(self, console: Console) -> None:
        self._file = console.file

    def began(self, stage: "StageProgress") -> None:
        self._stage("stage_began", stage, {})

    def moved(self, stage: "StageProgress", figures: Mapping[str, Figure]) -> None:
        self._stage("stage_moved", stage, figures)

    def ended(self, stage: "StageProgress") -> None:
        self._stage("stage_ended", stage, stage.figures)

    def say(self, text: str) -> None:
        self.event("note", text=text)

    def alarm(self, sentence: str) -> None:
        self.event("alarm", text=sentence)

    def event(self, name: str, **fields: Any) -> None:
        """Prints one event at once."""
        print(json.dumps({"event": name, "time": time.time(), **fields}), file=self._file, flush=True)

    def _stage(self, name: str, stage: "StageProgress", figures: Mapping[str, Figure]) -> None:
        left = stage.seconds_left
        self.event(
            name,
            stage=stage.name,
            done=stage.done,
            total=stage.total,
            seconds=round(stage.seconds, 3),
            seconds_left=None if left is None else round(left, 3),
            figures=dict(figures),
        )


def joined(figures: Mapping[str, Figure]) -> str:
    """Figures in one line."""
    return "  ".join(f"{name} {figure_text(value)}" for name, value in figures.items())


def _after(text: str) -> str:
    return f"  {text}" if text else ""


def _alarm(sentence: str) -> Text:
    return Text.assemble(("alarm: ", "bold yellow"), sentence)
