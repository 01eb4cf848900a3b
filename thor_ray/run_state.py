"""How far a run has got: a pure state machine, stored as ``progress.json``.

Only finished stages count: a run that is resumed goes on after the last of them, and what an unfinished stage had
recorded is superseded.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

import psutil

FORMAT: Final = 1


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Stopped by Ctrl-C or a signal; can be resumed."""
    FAILED = "failed"
    """Stopped by an error; can be resumed once its cause is gone."""
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that writes a run. Its start time tells it from a later process with the same number."""

    pid: int
    host: str
    process_started: float

    @classmethod
    def current(cls) -> Self:
        """This process."""
        return cls(os.getpid(), platform.node(), psutil.Process().create_time())

    @property
    def gone(self) -> bool:
        """Whether the process is known to have ended. Processes of other hosts are never known to."""
        if self.host != platform.node():
            return False
        try:
            return psutil.Process(self.pid).create_time() != self.process_started
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage of a run.

    Attributes:
        started: When, ISO 8601 in UTC.
        seconds: How long it took; ``None`` while it is not finished.
        result: What later stages and the report need of it, as plain JSON values.
    """

    started: str
    seconds: float | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.seconds is not None


@dataclass(frozen=True, slots=True)
class RunState:
    """The whole run. Every method returns the next state.

    Attributes:
        command: The verb that started it, e.g. ``smoke``.
        owner: The process that writes, or last wrote, it.
        started: When it was created, ISO 8601 in UTC.
        updated: When this state was reached.
        status: Where it stands.
        attempt: 1, and one more with each resumption.
        stages: By name, in the order in which they were first started.
        error: Why it failed.
    """

    command: str
    owner: Owner
    started: str
    updated: str
    status: RunStatus = RunStatus.RUNNING
    attempt: int = 1
    stages: Mapping[str, StageState] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def new(cls, command: str, owner: Owner, now: datetime) -> Self:
        """A run that has just been created."""
        return cls(command=command, owner=owner, started=timestamp(now), updated=timestamp(now))

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """The state that ``to_json`` wrote.

        Raises:
            ValueError: the tree is of another format.
        """
        if tree.get("format") != FORMAT:
            raise ValueError(f"progress format {tree.get('format')!r}, this version reads {FORMAT}")
        fields = {name: tree[name] for name in ("command", "started", "updated", "attempt", "error")}
        return cls(
            **fields,
            owner=Owner(**tree["owner"]),
            status=RunStatus(tree["status"]),
            stages={name: StageState(**stage) for name, stage in tree["stages"].items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"format": FORMAT, **asdict(self)}

    @property
    def finished_stages(self) -> list[str]:
        """Names of the stages that need not be done again."""
        return [name for name, stage in self.stages.items() if stage.finished]

    @property
    def seen_status(self) -> RunStatus:
        """The status as an outsider sees it: a run whose process is gone was interrupted, whatever it said last."""
        if self.status is RunStatus.RUNNING and self.owner.gone:
            return RunStatus.INTERRUPTED
        return self.status

    def resumed(self, owner: Owner, now: datetime) -> Self:
        """Another process goes on."""
        return replace(
            self,
            owner=owner,
            status=RunStatus.RUNNING,
            attempt=self.attempt + 1,
            updated=timestamp(now),
            error="",
        )

    def stage_started(self, name: str, now: datetime) -> Self:
        """Stage ``name`` begins.

        Raises:
            ValueError: it is finished already.
        """
        if name in self.finished_stages:
            raise ValueError(f"stage {name} is finished already")
        return replace(self, stages={**self.stages, name: StageState(timestamp(now))}, updated=timestamp(now))

    def stage_finished(self, name: str, seconds: float, result: Mapping[str, Any], now: datetime) -> Self:
        """Stage ``name``, which was started, is done.

        Raises:
            ValueError: it was never started, or is finished already.
        """
        if name not in self.stages or self.stages[name].finished:
            raise ValueError(f"stage {name} is not under way")
        stage = replace(self.stages[name], seconds=seconds, result=dict(result))
        return replace(self, stages={**self.stages, name: stage}, updated=timestamp(now))

    def ended(self, status: RunStatus, now: datetime, error: str = "") -> Self:
        """The process stops writing."""
        return replace(self, status=status, updated=timestamp(now), error=error)


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
