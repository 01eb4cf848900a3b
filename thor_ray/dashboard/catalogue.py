"""The runs that a page shows, and what it reads of each beside its trajectories."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any, Final

from thor_ray.alarms import Alarm, alarms, fleet_alarms
from thor_ray.dashboard.demonstrations import CandidateIndex
from thor_ray.dashboard.fleet import fleet_object
from thor_ray.dashboard.index import FileStamp, RunIndex
from thor_ray.dashboard.reading import NotRecordedError
from thor_ray.dashboard.search import TextSearch
from thor_ray.dashboard.series import stage_series
from thor_ray.errors import UserError
from thor_ray.fleet_record import FleetLook, read_looks
from thor_ray.run_directory import RUNS, RunDirectory
from thor_ray.run_state import RunStatus
from thor_ray.segments import Decoder, printable

LOG_TAIL_BYTES: Final = 64 * 1024
TEXT_FILE_BYTES: Final = 256 * 1024


class RunView:
    """One run as the page sees it; safe to use from several threads."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.index = RunIndex(directory)
        self.search = TextSearch()
        self.candidates = CandidateIndex(directory)
        self._lock = Lock()
        self._decoder: Decoder | None = None
        self._figures: tuple[FileStamp | None, dict[str, Any], list[Alarm]] = (None, {}, [])

    def decoder(self) -> Decoder | None:
        """Token ids to text; ``None`` while the run has no tokenizer."""
        with self._lock:
            self._decoder = self._decoder or self.directory.decoder()
            return self._decoder

    def series(self) -> dict[str, Any]:
        """``stage_series`` of the metrics so far.

        Raises:
            RecordFormatError: the file holds something else.
        """
        return self._read_figures()[0]

    def alarms(self) -> list[Alarm]:
        """What deserved a look so far.

        Raises:
            RecordFormatError: the file of metrics holds something else.
        """
        return [*fleet_alarms(self._live_looks()), *self._read_figures()[1]]

    def _live_looks(self) -> list[FleetLook]:
        """Looks at the actors while there are any; of a run that is over, they say nothing about now."""
        running = self.directory.state().seen_status is RunStatus.RUNNING
        return read_looks(self.directory.logs) if running else []

    def _read_figures(self) -> tuple[dict[str, Any], list[Alarm]]:
        """What follows from the metrics, read anew only when the file has grown."""
        stamp = FileStamp.of(self.directory.metrics_file)
        with self._lock:
            if self._figures[0] != stamp:
                lines = self.directory.metrics()
                self._figures = (stamp, stage_series(lines), alarms(lines))
            return self._figures[1], self._figures[2]

    def change(self) -> str:
        """Changes whenever the run has recorded something."""
        files = (self.directory.progress_file, self.directory.metrics_file, *self.directory.record_files())
        # Looks at the actors come every few seconds; whoever looks at them asks again by himself.
        stamps = [(stamp.modified, stamp.size) for path in files if (stamp := FileStamp.of(path)) is not None]
        return f"{len(stamps)}-{max(stamps, default=(0, 0))[0]:x}-{sum(size for _, size in stamps):x}"

    def status(self) -> dict[str, Any]:
        """Where the run stands, in few words.

        Raises:
            UserError: the run is gone or of another version.
        """
        state = self.directory.state()
        return {
            "name": self.directory.name,
            "command": state.command,
            "status": str(state.seen_status),
            "started": state.started,
            "updated": state.updated,
            "attempt": state.attempt,
            "error": printable(state.error),
            "change": self.change(),
            "alarms": sum(alarm.standing for alarm in self.alarms()),
        }

    def fleet(self) -> dict[str, Any]:
        """What the run's actors were seen to do (``fleet_object``)."""
        return self.status() | fleet_object(
            read_looks(self.directory.logs), _json(self.directory.logs / "sandbox.json")
        )

    def overview(self) -> dict[str, Any]:
        """Status, alarms, stages, settings, machine, sandbox and the end of the log.

        Raises:
            UserError: the run is gone or of another version.
        """
        state = self.directory.state()
        stages = {
            name: {"started": stage.started, "seconds": stage.seconds, "result": stage.result}
            for name, stage in state.stages.items()
        }
        return {
            **self.status(),
            "alarms": [asdict(alarm) for alarm in self.alarms()],
            "stages": stages,
            "environment": self.directory.environment(),
            "recipe": _text(self.directory.recipe_file),
            "sandbox": _text(self.directory.logs / "sandbox.json"),
            "log": _tail(self.directory.logs / "actors.log"),
            "unreadable": self.index.snapshot().unreadable,
        }


class Catalogue:
    """Runs by name: those that were named, or all below ``runs/``, those that start later included."""

    def __init__(self, directories: Sequence[RunDirectory] = (), root: Path = RUNS) -> None:
        self._root = None if directories else root
        self._lock = Lock()
        self._views: dict[str, RunView] = {}
        for directory in directories:
            self._views[self._free_name(directory.name)] = RunView(directory)

    def names(self) -> list[str]:
        """The runs, in the order in which they were named, or else the one that started last first."""
        with self._lock:
            if self._root is None:
                return list(self._views)
            for file in sorted(self._root.glob("*/progress.json")):
                if file.parent.name not in self._views:
                    self._views[file.parent.name] = RunView(RunDirectory(file.parent))
            return sorted(self._views, key=self._started, reverse=True)

    def view(self, name: str) -> RunView:
        """The run of this name. A name is looked up among the known ones, so none can lead to another directory.

        Raises:
            NotRecordedError: there is none.
        """
        if name not in self._views and name not in self.names():
            raise NotRecordedError(f"no run {name!r} is served here")
        return self._views[name]

    def warm(self) -> None:
        """Reads what a person will ask of the first run before anyone has asked; a run that cannot be read says so later."""
        for name in self.names()[:1]:
            view = self.view(name)
            with contextlib.suppress(UserError):
                view.search.warm(view.index.snapshot())

    def statuses(self) -> list[dict[str, Any]]:
        """``RunView.status`` of every run, with its ``name`` here; of those that cannot be read, why."""
        statuses = []
        for name in self.names():
            try:
                statuses.append(self._views[name].status() | {"name": name})
            except UserError as error:
                statuses.append({"name": name, "status": "unreadable", "error": printable(str(error))})
        return statuses

    def _started(self, name: str) -> str:
        try:
            return self._views[name].directory.state().started
        except UserError:
            return ""

    def _free_name(self, name: str) -> str:
        names = (name, *(f"{name} ({number})" for number in range(2, len(self._views) + 3)))
        return next(each for each in names if each not in self._views)


def _text(path: Path) -> str | None:
    """A text file's start; ``None`` where there is none."""
    try:
        with path.open("rb") as file:
            return printable(file.read(TEXT_FILE_BYTES).decode("utf-8", "backslashreplace"))
    except FileNotFoundError:
        return None


def _json(path: Path) -> Any:
    """A file's JSON; ``None`` where there is no file, or it is being written."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _tail(path: Path) -> str | None:
    """The last lines of a file; ``None`` where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            data = file.read(LOG_TAIL_BYTES)
    except FileNotFoundError:
        return None
    if size > LOG_TAIL_BYTES:
        data = data[data.find(b"\n") + 1 :]
    return printable(data.decode("utf-8", "backslashreplace"))
