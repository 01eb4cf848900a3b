"""Grants a level by trying to break out of it, in the very zygote that will run the programs."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandbox.request import Request
from sandbox.result import Isolation, Level, Result, Status

_PROBE_SECONDS = 10.0
_PROBE_SOURCE = Path(__file__).with_name("inside") / "escape_probes.py"

REMEDY = (
    "Run on Linux 6.2 or newer (x86-64) with Landlock among the kernel's security modules and a container profile that "
    "lets seccomp and Landlock calls through (Kubernetes' default profile does). To run without confinement, for programs "
    "you trust, pass min_level=0, allow_insecure=True."
)


def claimed(hello: dict[str, Any]) -> Isolation:
    """What a zygote says it did.

    Raises:
        KeyError, TypeError, ValueError: not a zygote's hello.
    """
    return Isolation(
        level=Level(hello["level"]),
        landlock_abi=int(hello["landlock_abi"]),
        seccomp=str(hello["seccomp"]),
        user_id=int(hello["user_id"]),
        shortfalls=tuple(hello["shortfalls"]),
    )


def granted(claim: Isolation, probed: Result) -> Isolation:
    """The level that holds: the claimed one if no probe got through, else the lowest with the probes named."""
    if claim.level is Level.LIMITS:
        return claim
    if probed.status is not Status.OK:
        reason = (
            f"the escape probes ended with {probed.status}: {probed.error_line or probed.stderr.strip() or 'no word'}"
        )
        return _unconfined(claim, reason)
    outcome = json.loads(probed.stdout)
    if outcome["through"]:
        return _unconfined(claim, f"these escape probes got through: {', '.join(outcome['through'])}")
    return claim


def refusal(isolation: Isolation, min_level: Level, allow_insecure: bool) -> str | None:
    """Why programs must not run under this isolation, and what to do about it; None if they may."""
    because = "; ".join(isolation.shortfalls)
    if isolation.level < min_level:
        return (
            f"isolation level {min_level:d} ({min_level.name.lower()}) is asked for, this machine gives "
            f"{isolation.level:d}: {because}. {REMEDY}"
        )
    if isolation.level is Level.LIMITS and not allow_insecure:
        return f"this machine gives isolation level 0, which confines nothing: {because}. {REMEDY}"
    return None


def _unconfined(claim: Isolation, reason: str) -> Isolation:
    return replace(claim, level=Level.LIMITS, shortfalls=(*claim.shortfalls, reason))


@dataclass(slots=True)
class ProbeTargets:
    """What the probes reach for: a file, a listener, and this process."""

    _canary: Path
    _listener: socket.socket

    @classmethod
    def make(cls, directory: Path) -> ProbeTargets:
        """Puts the file into `directory`, which must not be a program's scratch directory."""
        canary = directory / "canary"
        canary.touch(mode=0o600)
        return cls(canary, socket.create_server(("127.0.0.1", 0)))

    def request(self) -> Request:
        """The probe program, aimed at these targets."""
        port = self._listener.getsockname()[1]
        call = f"main({str(self._canary)!r}, {port}, {os.getpid()})\n"
        return Request(f"{_PROBE_SOURCE.read_text()}\n{call}", timeout=_PROBE_SECONDS)

    def close(self) -> None:
        """Stops listening; the file goes with its directory."""
        self._listener.close()
