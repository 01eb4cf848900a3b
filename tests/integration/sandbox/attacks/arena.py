"""What attacks reach for, and whether they got it: a file, listeners, secrets."""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

_SECRET_HEAD, _SECRET_TAIL = "supervisors-", "secret-5f0c1e"
_MARKER_HEAD, _MARKER_TAIL = "another-programs-", "text-91b7d4"
SECRET_VARIABLE = "SANDBOX_TEST_SECRET"


class Arena:
    """A directory outside of every scratch directory with a file, sockets that listen, and an environment variable.

    Attributes:
        outside: the directory.
        marker: text that one program holds and no other may find.
        targets: what `«name»` in a program stands for. Secrets come in halves, so that a search does not find itself.
    """

    def __init__(self) -> None:
        self.outside = Path(tempfile.mkdtemp(prefix="sandbox-outside-"))
        self._canary = self.outside / "canary"
        self._canary.write_text("untouched")
        self._canary.chmod(0o640)
        os.environ[SECRET_VARIABLE] = _SECRET_HEAD + _SECRET_TAIL
        self.marker = _MARKER_HEAD + _MARKER_TAIL
        abstract = f"\0sandbox-test-{os.getpid()}"
        stream, datagram = str(self.outside / "stream"), str(self.outside / "datagram")
        tcp = socket.create_server(("127.0.0.1", 0))
        self._listeners = {
            "TCP": tcp,
            "UDP": _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "a Unix socket": _bound(socket.AF_UNIX, socket.SOCK_STREAM, stream),
            "a Unix datagram socket": _bound(socket.AF_UNIX, socket.SOCK_DGRAM, datagram),
            "an abstract Unix socket": _bound(socket.AF_UNIX, socket.SOCK_STREAM, abstract),
        }
        self._poll = select.poll()
        for listener in self._listeners.values():
            self._poll.register(listener, select.POLLIN)
        self._before = self._looks()
        self.targets: dict[str, object] = {
            "canary": str(self._canary),
            "outside": str(self.outside),
            "supervisor": os.getpid(),
            "tcp": tcp.getsockname()[1],
            "udp": self._listeners["UDP"].getsockname()[1],
            "unix": stream,
            "unix_datagram": datagram,
            "abstract": abstract,
            "secret_head": _SECRET_HEAD,
            "secret_tail": _SECRET_TAIL,
            "marker_head": _MARKER_HEAD,
            "marker_tail": _MARKER_TAIL,
        }

    def aim(self, program: str) -> str:
        """Fills in the targets."""
        for name, value in self.targets.items():
            program = program.replace(f"«{name}»", repr(value))
        return program

    def harm(self) -> list[str]:
        """What an attack has done, in words; harmless when nothing."""
        found = []
        looks = self._looks()
        if looks != self._before:
            found.append(f"the files outside were {self._before} and are {looks}")
        heard = {descriptor for descriptor, _ in self._poll.poll(0)}
        found += [f"{name} was reached" for name, each in self._listeners.items() if each.fileno() in heard]
        return found

    def close(self) -> None:
        """Removes everything."""
        for listener in self._listeners.values():
            listener.close()
        del os.environ[SECRET_VARIABLE]
        shutil.rmtree(self.outside, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _looks(self) -> dict[str, object]:
        """All that can be seen of the directory and of the file, but for the time of the last reading."""
        looks: dict[str, object] = {"names": sorted(os.listdir(self.outside))}  # noqa: PTH208 - names that are no text
        for path in (self.outside, self._canary):
            try:
                status = path.stat()
                looks[path.name] = (
                    status.st_mode, status.st_mtime_ns, status.st_ctime_ns, status.st_uid, status.st_gid,
                    status.st_nlink, status.st_size, status.st_ino, os.listxattr(path),
                )  # fmt: skip
            except OSError as error:
                looks[path.name] = str(error)
        looks["text"] = self._canary.read_text() if self._canary.is_file() else None
        return looks


def _bound(family: int, kind: int, address: tuple[str, int] | str) -> socket.socket:
    listener = socket.socket(family, kind)
    listener.bind(address)
    if kind == socket.SOCK_STREAM:
        listener.listen()
    return listener
