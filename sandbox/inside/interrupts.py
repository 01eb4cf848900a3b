"""SIGINT for the steps of a session: it interrupts a program, never the harness around it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


class Interrupts:
    """Turns SIGINT into KeyboardInterrupt, once for each program and only while that runs.

    The supervisor sends it when a step's time is over, so it can also come while the program still compiles, when it waits
    for the program's start, or when the program has ended just now, when it means nothing any more.
    """

    def __init__(self) -> None:
        self._runs = False
        self._is_wanted = False
        signal.signal(signal.SIGINT, self._on_signal)

    def forget(self) -> None:
        """What has come up to now was meant for an earlier program."""
        self._is_wanted = False

    def execute(self, program: CodeType, namespace: dict[str, Any], run: Callable[..., None] = exec) -> None:
        """`exec`, which can be interrupted.

        Raises:
            BaseException: whatever the program raises, and KeyboardInterrupt.
        """
        try:
            self._runs = True
            if self._is_wanted:
                raise KeyboardInterrupt
            run(program, namespace)
        finally:
            self._runs = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._is_wanted = True
        if self._runs:
            self._runs = False
            raise KeyboardInterrupt
