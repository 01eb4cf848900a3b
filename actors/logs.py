"""What the actors printed, as one file that outlives the cluster."""

from pathlib import Path
from typing import Final

ACTOR_MARK: Final = ":actor_name:"
"""With this Ray begins the line that tells whose output follows; other marks begin with a colon as well."""


def merge_actor_logs(session_logs: Path, target: Path) -> None:
    """Appends the output of a Ray session's actors on this node to ``target``, each line under its actor's name.

    Args:
        session_logs: The session's log directory.
        target: A text file; kept as it is where no actor printed anything.
    """
    lines = []
    for path in sorted(session_logs.glob("worker-*.out")) + sorted(session_logs.glob("worker-*.err")):
        process = path.stem.rpartition("-")[2]
        actor = ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(ACTOR_MARK):
                actor = line.removeprefix(ACTOR_MARK)
            elif actor and line.strip() and not line.startswith(":"):
                lines.append(f"{actor} {process} | {line}\n")
    if lines:
        with target.open("a", encoding="utf-8") as file:
            file.writelines(lines)
