"""A session's hold on its process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from sandbox.errors import SandboxError
from sandbox.limits import Limits
from sandbox.sessions.child import SessionChild
from sandbox.sessions.places import Place
from sandbox.supervisor import Supervisor


class Lease:
    """One place among the sessions, and the process that takes it, replaced as often as the session likes.

    Attributes:
        child: the process of now; it may be gone, or still to come. None before the first, and if there was no making one.
        is_over: whether `end` was called.
    """

    def __init__(self, supervisor: Supervisor, limits: Limits, files: Mapping[str, bytes]) -> None:
        self.child: SessionChild | None = None
        self.is_over = False
        self._supervisor = supervisor
        self._limits = limits
        self._files = files
        self._place = Place()
        self._owner = os.getpid()

    def renew(self) -> SessionChild:
        """Kills the process and asks for a fresh one; does not wait for it.

        Raises:
            OSError: out of descriptors.
            SandboxError: the sandbox is closed.
        """
        self._drop()
        child = SessionChild(self._limits, self._files, self._supervisor)
        try:
            self._supervisor.seat(self._place, child)
        except SandboxError:
            child.release()
            child.forget_childs_ends()
            raise
        self.child = child
        return child

    def expect_end(self, child: SessionChild) -> None:
        """Has the supervisor see to it that a process which ought to be dead is soon known to be."""
        with contextlib.suppress(SandboxError):  # a closed sandbox has told about all ends
            self._supervisor.call(child.expect_zygote)

    def end(self) -> None:
        """Kills the process and gives the place up. Harmless when repeated, and in a fork of the process that holds it."""
        if self.is_over or os.getpid() != self._owner:
            return
        self.is_over = True
        self._drop()
        with contextlib.suppress(SandboxError):
            self._supervisor.call(lambda: self._supervisor.sessions.leave(self._place))

    def _drop(self) -> None:
        if self.child is not None:
            self.child.release()
            self.expect_end(self.child)
            self.child = None
