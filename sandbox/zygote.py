"""The supervisor's end of a zygote: start it, send orders, notice when it is gone or stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.limits import Limits
from sandbox.occupant import Occupant
from sandbox.result import Level
from sandbox.wire import MAX_PACKET, Message, receive, unpack_message

if TYPE_CHECKING:
    from sandbox.inside.zygote import Settings

START_SECONDS = 120.0
"""Importing the libraries takes one second on a quiet machine and may take a minute on one that swaps."""
_STOP_SECONDS = 1.0

_ENVIRONMENT = {
    "HOME": ".",
    "LANG": "C.UTF-8",
    # An arena of each thread's own takes 64 MiB of the address space, and a dozen threads a program's whole memory.
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/usr/bin:/bin",
    "PYTHONHASHSEED": "0",
    "TMPDIR": ".",
    "TZ": "UTC",
}
"""All that a program finds in its environment. "." is its scratch directory."""

_PACKAGE = Path(__file__).resolve().parent
# Stands for `import sandbox` without running its __init__: a zygote needs none of the supervisor's modules.
_BOOTSTRAP = (
    "import sys, types; package = types.ModuleType('sandbox'); package.__path__ = [sys.argv.pop(1)]; "
    "sys.modules['sandbox'] = package; from sandbox.inside.zygote import main; main()"
)


@dataclass(frozen=True, slots=True)
class ZygoteOptions:
    """What every zygote of a sandbox is started with.

    Attributes:
        preload: modules to import before the first program.
        library_paths: directories that programs import third-party modules from.
        limits: bounds on one program.
    """

    preload: tuple[str, ...]
    library_paths: tuple[str, ...]
    limits: Limits


class State(Enum):
    """Where a zygote is in its life."""

    STARTING = auto()
    PROBED = auto()
    """It said hello; the escape probes run in it."""
    READY = auto()
    RETIRING = auto()
    """Another one takes its place; it ends when its last child has."""
    GONE = auto()


class Zygote:
    """A zygote process. Make it on the thread that lives as long as it should: the kernel kills it when that thread ends.

    From level 3 on the process that is started here only waits for another one, the first of its process namespace, which
    is the zygote; the two end together.

    Args:
        options: what it is started with.
        level: the isolation that it is to build.
    """

    def __init__(self, options: ZygoteOptions, level: Level) -> None:
        self.state = State.STARTING
        self.level = level
        self.running: dict[int, Occupant] = {}
        self.children_made = 0
        self.start_deadline = time.monotonic() + START_SECONDS
        self._pidfd: int | None = None
        self._complaints = os.memfd_create("zygote-stderr", os.MFD_CLOEXEC)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-s",
                    "-S",
                    "-P",
                    "-B",
                    "-c",
                    _BOOTSTRAP,
                    str(_PACKAGE),
                    _settings(options, level, theirs),
                ],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The zygote's own process id, once it said hello; -1 if it is gone."""
        return self._process.pid if self._pidfd is None else _process_id(self._pidfd)

    @property
    def makes_scratch(self) -> bool:
        """Whether its children mount their scratch directories themselves."""
        return self.level >= Level.NAMESPACED

    def introduce(self, pidfd: int) -> None:
        """Takes the descriptor by which the zygote makes itself known."""
        self._pidfd = pidfd

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, order: bytes, descriptors: Sequence[int]) -> None:
        """Sends an order.

        Raises:
            OSError: the zygote is gone, or has stopped reading.
        """
        socket.send_fds(self._socket, [order], descriptors)

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message with its descriptors; None if there is none now.

        Raises:
            EOFError: the zygote is gone.
            ValueError: not a message.
        """
        try:
            packet, descriptors = receive(self._socket, max_descriptors=1)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            packet, descriptors = b"", []
        if not packet:
            raise EOFError
        return unpack_message(packet), descriptors

    def is_stopped(self) -> bool:
        """Whether somebody has stopped it (SIGSTOP, a debugger) or killed it: it will not answer, however long we wait."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state in "TtZX"

    def end(self, kill: bool) -> str:
        """Ends the process, at once or by hanging up, and returns what can be said about it."""
        self.state = State.GONE
        self._socket.close()
        if kill:
            self._kill()
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        complaints = os.pread(self._complaints, MAX_PACKET, 0).decode("utf-8", "replace").strip().splitlines()
        os.close(self._complaints)
        end = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{end}: {complaints[-1]}" if complaints else end

    def _kill(self) -> None:
        if self._pidfd is None:
            self._process.kill()
            return
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended by itself


def _process_id(pidfd: int) -> int:
    """The number by which this process's /proc knows a process; -1 if it is gone."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines())
    return int(fields["Pid"])


def default_library_paths() -> tuple[str, ...]:
    """This interpreter's site-packages."""
    paths = sysconfig.get_paths()
    return tuple(dict.fromkeys(str(Path(paths[name]).resolve()) for name in ("purelib", "platlib")))


def _settings(options: ZygoteOptions, level: Level, control: socket.socket) -> str:
    settings: Settings = {
        "level": int(level),
        "owner": os.getpid(),
        "control": control.fileno(),
        "libraries": list(options.library_paths),
        "readable": [*_system_libraries(), *options.library_paths],
        "preload": list(options.preload),
        "memory_bytes": options.limits.memory_bytes,
        "file_bytes": options.limits.file_bytes,
        "open_files": options.limits.open_files,
        "scratch_bytes": options.limits.scratch_bytes,
        "scratch_files": options.limits.scratch_files,
    }
    return json.dumps(settings)


def _system_libraries() -> list[str]:
    """What imports and shared libraries are read from; never all of sys.path, which may hold a project with its answers."""
    # A virtual environment's own "platstdlib" is where its third-party modules lie, so the base installation's is taken.
    installation = {"platbase": sys.base_exec_prefix}
    found = [sysconfig.get_path(name, vars=installation) for name in ("stdlib", "platstdlib")]
    found += ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo"]
    return list(dict.fromkeys(found))
