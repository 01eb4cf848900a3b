"""The rows of the matrix: who runs cases, and at which level. Each has a worker process of its own, so that rows run side by side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from sandbox import Level

ROOT = Path(__file__).parents[4]
_NOBODY = 65534
_PROBE = """
import importlib.util, json, subprocess, sys
importable = []
for name in ("numpy", "sympy", "mpmath"):
    try:
        if importlib.util.find_spec(name): __import__(name); importable.append(name)
    except (ImportError, OSError): pass
subprocess.run([sys.executable, "-c", ""], check=True)  # as the sandbox starts its workers
open({source!r}).close()
print(json.dumps([sys.version_info[:2] >= (3, 11), importable]))
"""


class User(StrEnum):
    """Whose files and processes an attack could reach."""

    ROOT = "root"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that a user can run.

    Attributes:
        path: the executable.
        libraries: where its third-party modules lie.
        modules: which of those that cases need it can import.
    """

    path: str
    libraries: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A level and a user."""

    level: int
    user: User

    def __str__(self) -> str:
        return f"L{self.level:d}-{self.user}"


ROWS = tuple(Row(level, user) for level in (2, 3) if level in tuple(Level) for user in User)


@cache
def interpreter_of(user: User) -> Interpreter | str:
    """An interpreter that the user can run with the sandbox's source, or why there is none.

    A plain user often cannot reach the one that runs the tests, e.g. in root's home directory; the system's serves then.
    """
    if user is User.ROOT and os.getuid() != 0:
        return "the tests do not run as root"
    libraries = (sysconfig.get_paths()["purelib"],)
    for path in dict.fromkeys((sys.executable, "/usr/local/bin/python3", "/usr/bin/python3")):
        for paths in (libraries, ()):
            modules = _usable(path, paths, user)
            if modules is not None:
                return Interpreter(path, paths, modules)
    return "no interpreter of at least Python 3.11 and the sandbox's source that a plain user can read"


def _usable(path: str, libraries: Sequence[str], user: User) -> tuple[str, ...] | None:
    """The modules that an interpreter can import, None if the user cannot run it."""
    if not shutil.which(path):
        return None
    probe = _PROBE.format(source=str(ROOT / "sandbox" / "api.py"))
    try:
        done = subprocess.run(
            [path, "-c", probe], **_identity(user, libraries), capture_output=True, text=True, check=True, timeout=120
        )
    except (OSError, subprocess.SubprocessError):
        return None
    recent, modules = json.loads(done.stdout)
    return tuple(modules) if recent else None


def _identity(user: User, libraries: Iterable[str]) -> dict[str, Any]:
    """Arguments for `subprocess` that make a process the user's, with nothing of ours in its environment."""
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join((str(ROOT), *libraries))}
    identity: dict[str, Any] = {"cwd": "/", "env": environment}
    if user is User.PLAIN and os.getuid() == 0:
        identity |= {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    return identity


class RowRun:
    """Runs of one row, in the order given, in the background.

    Attributes:
        opened: the isolation that the sandbox has, as a dictionary, or a sentence that says why there is none.
        closed: what was left of the sandbox after it was closed.
    """

    def __init__(self, row: Row, interpreter: Interpreter, runs: Iterable[tuple[str, str]]) -> None:
        self.opened: Future[dict[str, Any] | str] = Future()
        self.closed: Future[list[str]] = Future()
        self._outcomes: dict[tuple[str, str], Future[dict[str, Any]]] = {run: Future() for run in runs}
        self._process = subprocess.Popen(
            [interpreter.path, "-m", "tests.integration.sandbox.attacks.worker"],
            **_identity(row.user, interpreter.libraries),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        plan = {
            "level": row.level,
            "preload": [name for name in ("numpy", "sympy") if name in interpreter.modules],
            "library_paths": interpreter.libraries,
            "runs": list(self._outcomes),
        }
        self._thread = threading.Thread(target=self._follow, args=(json.dumps(plan),))
        self._thread.start()

    def outcome(self, case: str, mode: str) -> dict[str, Any]:
        """What `Examiner.examine` found; waits for it.

        Raises:
            RuntimeError: the worker ended before.
        """
        return self._outcomes[case, mode].result()

    def end(self) -> None:
        """Stops the worker wherever it is."""
        self._process.kill()
        self._thread.join()

    def _follow(self, plan: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        last = "its start"
        with self._process:
            self._process.stdin.write(plan)
            self._process.stdin.close()
            for line in self._process.stdout:
                answer = json.loads(line)
                match answer:
                    case {"case": case, "mode": mode}:
                        last = f"{case} ({mode})"
                        self._outcomes[case, mode].set_result(answer)
                    case {"left": left}:
                        self.closed.set_result(left)
                    case {"unavailable": reason}:
                        self.opened.set_result(str(reason))
                    case {"isolation": isolation}:
                        self.opened.set_result(isolation)
        futures: tuple[Future[Any], ...] = (self.opened, self.closed, *self._outcomes.values())
        for future in futures:
            if not future.done():
                future.set_exception(RuntimeError(f"the worker ended with {self._process.returncode} after {last}"))
