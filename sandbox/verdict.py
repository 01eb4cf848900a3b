"""Decides a program's status from what was observed. Pure: no clock, no descriptor."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import Any

from sandbox.result import Status
from sandbox.wire import Ended

_CLAIMS = frozenset({Status.OK, Status.EXIT, Status.RUNTIME_ERROR, Status.SYNTAX_ERROR, Status.MEMORY_LIMIT})


@dataclass(frozen=True, slots=True)
class Report:
    """What the child said about itself. The program can forge all of it."""

    status: Status
    exc_type: str | None
    exc_message: str | None
    traceback: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status, and the process's end in the terms of `Result`."""

    status: Status
    exit_code: int | None
    signal: int | None


def read_report(data: bytes) -> Report | None:
    """Parses a child's report (after the start mark); None if it is absent or not one. Never raises."""
    return check_report(parse_report(data))


def parse_report(data: bytes) -> Any:
    """What a line of JSON says; None if it is not JSON. Never raises."""
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):
        return None


def check_report(fields: Any) -> Report | None:
    """The report that parsed JSON makes; None if it makes none. Never raises."""
    try:
        status = Status(fields["status"])
        exc_type, exc_message, traceback = fields["exc_type"], fields["exc_message"], fields["traceback"]
    except (ValueError, KeyError, TypeError):
        return None
    if status not in _CLAIMS or not isinstance(traceback, str):
        return None
    for text in (exc_type, exc_message):
        if text is not None and not isinstance(text, str):
            return None
    return Report(status, _printable(exc_type), _printable(exc_message), _printable(traceback) or "")


def judge(
    killed_for: Status | None, ended: Ended, report: Report | None, cpu_limit_seconds: int, memory: int
) -> Verdict:
    """The verdict on a program that started: our own kill first, then the kernel's word, then the child's.

    Args:
        killed_for: why the supervisor killed it, None if it did not.
        ended: how the kernel says it ended.
        report: what the child says, None if it says nothing readable.
        cpu_limit_seconds: the soft CPU limit it ran under.
        memory: the memory limit in bytes above the baseline.
    """
    if os.WIFSIGNALED(ended.wait_status):
        number = os.WTERMSIG(ended.wait_status)
        return Verdict(killed_for or _status_of_signal(number, ended, cpu_limit_seconds, memory), None, number)
    exit_code = os.WEXITSTATUS(ended.wait_status)
    if report is not None and (report.status is Status.OK) == (exit_code == 0):
        return Verdict(report.status, exit_code, None)
    return Verdict(Status.OK if exit_code == 0 else Status.EXIT, exit_code, None)


def _status_of_signal(number: int, ended: Ended, cpu_limit_seconds: int, memory: int) -> Status:
    """A SIGKILL that is not ours comes from the CPU limit, from the kernel's out-of-memory killer, or from itself."""
    if number == signal.SIGXCPU:
        return Status.TIMEOUT
    if number == signal.SIGKILL:
        if ended.user_us + ended.system_us >= cpu_limit_seconds * 1_000_000:
            return Status.TIMEOUT
        if ended.max_rss_kb * 1024 >= memory:
            return Status.MEMORY_LIMIT
    return Status.CRASH


def _printable(text: str | None) -> str | None:
    """JSON can carry lone surrogates, which no later UTF-8 encoder accepts."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
