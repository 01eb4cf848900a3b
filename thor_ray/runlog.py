"""Writing a run directory (its contents: ``run_directory``).

Nothing that has been written is changed, except that a stage which is begun again supersedes what its unfinished
attempt had recorded.
"""

import contextlib
import errno
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from thor_ray import environment
from thor_ray.config import Recipe
from thor_ray.errors import RunExistsError, UserError
from thor_ray.files import (
    atomic_path,
    drop_torn_line,
    naming_full_disks,
    remove_abandoned,
    require_free_space,
    write_text_atomically,
)
from thor_ray.records import Learned, Stage, write_groups
from thor_ray.run_directory import WEIGHTS_GAP, WEIGHTS_VERIFIED, WEIGHTS_VERSION, MetricsLine, RunDirectory
from thor_ray.run_lock import RunLock
from thor_ray.run_state import Owner, RunState, RunStatus, timestamp
from thor_ray.segments import Decoder
from thor_ray.tracking import Sink, open_sinks
from thor_ray.trajectory import Group

MINIMUM_FREE_MEBIBYTES: Final = 256


class RunLog(RunDirectory):
    """The one writer of a run directory, as a context manager; made by ``create`` or ``resume``.

    Leaving the block says how the run ended: finished, interrupted (Ctrl-C) or failed. A process that is killed
    leaves the status ``running`` behind, which readers take for interrupted once the process is gone.
    """

    def __init__(self, path: Path, lock: RunLock, state: RunState) -> None:
        super().__init__(path)
        self._lock = lock
        self._state = state
        for folder in (self.records, self.checkpoints, self.logs):
            folder.mkdir(exist_ok=True)
        remove_abandoned(path)
        drop_torn_line(self.metrics_file)
        self._sinks: list[Sink] = []
        self._decoder: Decoder | None = None
        self._save(state)
        self._metrics = os.open(self.metrics_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    @classmethod
    def create(cls, path: Path, recipe: Recipe, command: str, *, overwrite: bool = False) -> Self:
        """Starts a new run.

        Args:
            path: The run directory; its parents are made.
            recipe: The resolved recipe, stored with the run.
            command: The verb that the run belongs to, e.g. ``smoke``.
            overwrite: Remove a run that lies there already.

        Raises:
            RunExistsError: there is a run or something else, and it may not be overwritten.
        UserError: no directory can be made there.
            RunLockedError: another process writes it.
            DiskFullError: there is hardly any room.
        """
        require_free_space(path, MINIMUM_FREE_MEBIBYTES)
        _make_directory(path)
        lock = RunLock(path / ".lock")
        try:
            _make_room(path, overwrite)
            write_text_atomically(path / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
            write_text_atomically(path / "environment.json", json.dumps(environment.describe(), indent=2) + "\n")
            return cls(path, lock, RunState.new(command, Owner.current(), _now()))
        except BaseException:
            lock.release()
            raise

    @classmethod
    def resume(cls, path: Path, recipe: Recipe | None = None) -> Self:
        """Goes on with a run after its last finished stage.

        Args:
            path: The run directory.
            recipe: What the run is believed to do; refused where the stored recipe says otherwise.

        Raises:
            RunNotFoundError: there is none.
            RunLockedError: another process writes it.
            UserError: ``recipe`` differs from the stored one.
        """
        directory = RunDirectory(path)
        directory.state()
        if recipe is not None and (differences := _differences(directory.recipe(), recipe)):
            raise UserError(
                f"{path} was started with other settings: " + "; ".join(differences),
                "resume without --set, or start anew with --overwrite or another --name",
            )
        lock = RunLock(path / ".lock")
        try:
            return cls(path, lock, directory.state().resumed(Owner.current(), _now()))
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        self._sinks += open_sinks(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            status = RunStatus.FINISHED
        else:
            status = RunStatus.INTERRUPTED if issubclass(kind, KeyboardInterrupt) else RunStatus.FAILED
        try:
            for sink in self._sinks:
                sink.close(succeeded=kind is None)
            self._save(self._state.ended(status, _now(), "" if error is None else f"{type(error).__name__}: {error}"))
        finally:
            os.close(self._metrics)
            self._lock.release()

    def attach(self, sink: Sink) -> None:
        """Lets ``sink`` have whatever is recorded from here on; it is closed with the run."""
        self._sinks.append(sink)

    def finished(self, stage: str) -> bool:
        """Whether ``stage`` need not be done again."""
        return stage in self._state.finished_stages

    def result(self, stage: str) -> Mapping[str, Any]:
        """What the finished ``stage`` left for later ones.

        Raises:
            KeyError: it is not finished.
        """
        if not self.finished(stage):
            raise KeyError(f"stage {stage} is not finished")
        return self._state.stages[stage].result

    @contextlib.contextmanager
    def stage(self, stage: str, rounds_done: int = 0) -> Iterator[dict[str, Any]]:
        """Runs one stage; it is finished if the block ends without an error.

        Args:
            stage: Its name.
            rounds_done: Rounds of an earlier attempt that stand; what it recorded beyond them is removed.

        Yields:
            A dictionary for the stage's result: plain JSON values that later stages or the report need.

        Raises:
            ValueError: the stage is finished already.
        """
        self._save(self._state.stage_started(stage, _now()))
        for recorded in self.records.glob(f"{stage}-*.parquet"):
            if int(recorded.stem.removeprefix(f"{stage}-")) >= rounds_done:
                recorded.unlink()
        started, result = time.monotonic(), dict[str, Any]()
        yield result
        self._save(self._state.stage_finished(stage, round(time.monotonic() - started, 3), result, _now()))

    def record_metrics(self, stage: str, round_index: int | None, metrics: Mapping[str, Any]) -> None:
        """Appends one line of metrics. Numbers of numpy are fine; what is not finite is recorded as null.

        Raises:
            DiskFullError: no room.
        """
        line = MetricsLine(timestamp(_now()), self._state.attempt, stage, round_index, _plain(metrics))
        data = json.dumps(asdict(line), allow_nan=False).encode() + b"\n"
        with naming_full_disks(self.metrics_file):
            # One write a line: a reader, or a kill, finds whole lines.
            if os.write(self._metrics, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for sink in self._sinks:
            sink.log(line)

    def record_publication(
        self, stage: str, round_index: int | None, version: int, verified: bool, logprob_gap: float
    ) -> None:
        """Appends the metrics of one publication of weights to the engines.

        Args:
            stage: The stage that published.
            round_index: Its round.
            version: The published weight version.
            verified: Whether the engines were shown to serve it.
            logprob_gap: Largest difference between engine and learner log-probs on the probe batch, in nats.
        """
        figures = {WEIGHTS_VERSION: version, WEIGHTS_VERIFIED: int(verified), WEIGHTS_GAP: logprob_gap}
        self.record_metrics(stage, round_index, figures)

    def record_groups(
        self,
        groups: Iterable[Group],
        stage: Stage,
        round_index: int,
        *,
        gold_answers: Mapping[str, str] | None = None,
        learned: Mapping[str, Learned] | None = None,
    ) -> Path:
        """Writes the trajectories of one round (``records.write_groups``), with their text if there is a tokenizer.

        Returns:
            The file.
        """
        path = self.records / f"{stage}-{round_index:05d}.parquet"
        self._decoder = self._decoder or self.decoder()
        write_groups(
            path,
            groups,
            stage,
            round_index,
            decode=self._decoder,
            gold_answers=gold_answers,
            learned=learned,
        )
        for sink in self._sinks:
            sink.log_rollouts(stage, round_index, path)
        return path

    def keep_tokenizer(self, model: Path) -> None:
        """Copies the tokenizer of a model directory, so that the records stay readable without the model.

        Raises:
            UserError: the directory has no ``tokenizer.json``.
        """
        if not (model / "tokenizer.json").is_file():
            raise UserError(f"{model} has no tokenizer.json", "save the tokenizer with transformers' fast tokenizer")
        self.tokenizer.mkdir(exist_ok=True)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (model / name).is_file():
                with atomic_path(self.tokenizer / name) as temporary:
                    shutil.copyfile(model / name, temporary)

    def _save(self, state: RunState) -> None:
        write_text_atomically(self.progress_file, json.dumps(state.to_json(), indent=2, allow_nan=False) + "\n")
        self._state = state


def _now() -> datetime:
    return datetime.now(UTC)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(
            f"{path} cannot be a run directory: {error.strerror}", "choose another place with --run-dir"
        ) from error


def _make_room(path: Path, overwrite: bool) -> None:
    """Leaves ``path`` empty but for its lock, or refuses to."""
    contents = [entry for entry in path.iterdir() if entry.name != ".lock"]
    if not contents:
        return
    if not (path / "progress.json").is_file():
        raise RunExistsError(f"{path} holds something that is no run", "choose another place with --run-dir or --name")
    if not overwrite:
        raise RunExistsError(
            f"{path} holds a run already", "go on with it by --resume, replace it by --overwrite, or choose a --name"
        )
    # The progress file goes last: should this be interrupted, the place is still known for a run.
    for entry in sorted(contents, key=lambda entry: entry.name == "progress.json"):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _differences(stored: Recipe, asked: Recipe) -> list[str]:
    """Fields in which two recipes differ, as ``rl.rounds is 30, not 10``."""

    def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for key, value in tree.items():
            flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return flat

    old, new = flatten(stored.model_dump(mode="json")), flatten(asked.model_dump(mode="json"))
    keys = sorted(old.keys() | new.keys())
    return [f"{key} is {old.get(key)!r}, not {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
