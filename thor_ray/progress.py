"""How far a run has got: its stages tell, and a display shows it."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console

from thor_ray.displays import display_for
from thor_ray.progress_format import ProgressFormat
from thor_ray.texts import Figure


class StageProgress:
    """How far one stage has got; made by ``Progress.stage``.

    Attributes:
        name: What it is called.
        total: Units that it has; ``None`` while nobody knows.
        done: Units that are done.
        figures: The latest of each.
        shown: Names of those that are shown; empty shows all.
    """

    def __init__(self, progress: "Progress", name: str, total: int | None, shown: Sequence[str]) -> None:
        self.name = name
        self.total = total
        self.done = 0
        self.figures: dict[str, Figure] = {}
        self.shown = tuple(shown)
        self._started = time.monotonic()
        self._progress = progress

    def reach(self, done: int, figures: Mapping[str, Figure] | None = None, total: int | None = None) -> None:
        """``done`` units are done, of ``total`` if that is news; figures that are not to be shown are ignored."""
        self.done = done
        self.total = self.total if total is None else total
        news = {name: value for name, value in (figures or {}).items() if not self.shown or name in self.shown}
        self.figures |= news
        self._progress.display.moved(self, news)

    def advance(self, figures: Mapping[str, Figure] | None = None) -> None:
        """One more unit is done."""
        self.reach(self.done + 1, figures)

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; ``None`` before the first unit is done, or where nobody knows how many there are."""
        return self.seconds / self.done * (self.total - self.done) if self.done and self.total is not None else None


class Progress:
    """Shows the stages of a run one after the other; a context manager.

    Args:
        console: Where to.
        form: How; by default live on a terminal, plain lines otherwise.
    """

    def __init__(self, console: Console | None = None, form: ProgressFormat = ProgressFormat.AUTO) -> None:
        self.display = display_for(form, console or Console())

    def __enter__(self) -> Self:
        self.display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.display.stop()

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None, shown: Sequence[str] = ()) -> Iterator[StageProgress]:
        """Shows one stage while the block runs.

        Args:
            name: What it is called.
            total: How many units it has, if that is known yet.
            shown: Names of the figures to show of those that it is told; all of them without this.
        """
        stage = StageProgress(self, name, total, shown)
        self.display.began(stage)
        yield stage
        self.display.ended(stage)

    def say(self, text: str) -> None:
        """Says something once, above the bars or among the lines."""
        self.display.say(text)

    def alarm(self, sentence: str) -> None:
        """Says what deserves a look."""
        self.display.alarm(sentence)
