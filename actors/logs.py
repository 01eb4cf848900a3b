"""What the actors print, as one file that grows while they live and outlives the cluster."""

from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

ACTOR_MARK: Final = ":actor_name:"
"""With this Ray begins the line that tells whose output follows; other marks begin with a colon as well."""

SWEEP_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Source:
    """One file of Ray's: how much of it was read, and whose output it holds there."""

    offset: int = 0
    actor: str = ""


class ActorLog:
    """Appends the output of a Ray session's actors on this node to one file, each line under its actor's name.

    Between ``start`` and ``close`` a thread does so every second; what a killed run had printed until then stands.

    Args:
        session_logs: The session's log directory.
        target: A text file; it is not made before an actor prints something.
    """

    def __init__(self, session_logs: Path, target: Path) -> None:
        self._session_logs = session_logs
        self._target = target
        self._sources: dict[Path, _Source] = {}
        self._ended = Event()
        self._thread = Thread(target=self._run, name="actor log", daemon=True)

    def start(self) -> None:
        """Begins to follow the actors."""
        self._thread.start()

    def close(self) -> None:
        """Appends what is left, lines without an end included."""
        self._ended.set()
        self._thread.join()
        self.sweep(to_the_end=True)

    def sweep(self, *, to_the_end: bool = False) -> None:
        """Appends the lines that were printed since the last time, those of one process together.

        Args:
            to_the_end: Nobody will finish a line that has no end yet.
        """
        paths = sorted(self._session_logs.glob("worker-*.out")) + sorted(self._session_logs.glob("worker-*.err"))
        lines = [line for path in paths for line in self._news(path, to_the_end)]
        if lines:
            with self._target.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def _run(self) -> None:
        while not self._ended.wait(SWEEP_SECONDS):
            self.sweep()

    def _news(self, path: Path, to_the_end: bool) -> list[str]:
        source = self._sources.setdefault(path, _Source())
        with path.open("rb") as file:
            file.seek(source.offset)
            data = file.read()
        if not to_the_end:
            data = data[: data.rfind(b"\n") + 1]
        source.offset += len(data)
        process = path.stem.rpartition("-")[2]
        news = []
        for line in data.decode("utf-8", "replace").splitlines():
            if line.startswith(ACTOR_MARK):
                source.actor = line.removeprefix(ACTOR_MARK)
            elif source.actor and line.strip() and not line.startswith(":"):
                news.append(f"{source.actor} {process} | {line}\n")
        return news
