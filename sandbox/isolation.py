"""Grants a level by trying to break out of it, in the very zygote that will run the programs.

A zygote builds the level that it is told to build, or says why it cannot. If it can, a child of it runs the escape probes;
the level holds if none of them gets through. Otherwise the next lower level is tried with a fresh zygote.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.limits import Limits
from sandbox.request import Request
from sandbox.result import Isolation, Level, Result, Status

_PROBE_SECONDS = 10.0
_PROBE_SOURCE = Path(__file__).with_name("inside") / "escape_probes.py"

REMEDY = (
    "Run on Linux 6.2 or newer (x86-64 or 64-bit ARM) with Landlock among the kernel's security modules and a container "
    "profile that lets seccomp and Landlock calls through (Kubernetes' default profile does). To run without confinement, "
    "for programs you trust, pass min_level=0, allow_insecure=True."
)
_REMEDIES = {
    Level.NAMESPACED: "Let this process make user namespaces: a container profile that allows unshare and mount, "
    "sysctl user.max_user_namespaces above 0, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0. "
    "Or accept min_level=2.",
    Level.OWN_KERNEL: "Run the pod under gVisor, Kata or in a virtual machine of its own, and declare it: own_kernel='gvisor' "
    "or 'vm', or the environment variable SANDBOX_OWN_KERNEL. Or accept min_level=2.",
}


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
        namespaces=bool(hello["namespaces"]),
    )


def objection(probed: Result) -> str | None:
    """Why the escape probes speak against a level; None if they don't."""
    if probed.status is not Status.OK:
        return (
            f"the escape probes ended with {probed.status}: {probed.error_line or probed.stderr.strip() or 'no word'}"
        )
    through = json.loads(probed.stdout)["through"]
    return f"these escape probes got through: {', '.join(through)}" if through else None


def refusal(level: Level, shortfalls: Sequence[str], min_level: Level, allow_insecure: bool) -> str | None:
    """Why programs must not run at this level, and what to do about it; None if they may."""
    because = "; ".join(shortfalls)
    if level < min_level:
        asked = f"isolation level {min_level:d} ({min_level.name.lower()}) is asked for, but not to be had"
        return f"{asked}: {because}. {remedy(min_level)}"
    if level is Level.LIMITS and not allow_insecure:
        return f"this machine gives isolation level 0, which confines nothing: {because}. {REMEDY}"
    return None


def remedy(level: Level) -> str:
    """What gives a machine this level."""
    return _REMEDIES.get(level, REMEDY)


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

    def request(self, level: Level, limits: Limits) -> Request:
        """The probe program for a level, aimed at these targets."""
        port = self._listener.getsockname()[1]
        scratch = (limits.scratch_bytes, limits.scratch_files)
        call = f"main({int(level)}, {str(self._canary)!r}, {port}, {os.getpid()}, {scratch})\n"
        return Request(f"{_PROBE_SOURCE.read_text()}\n{call}", timeout=_PROBE_SECONDS)

    def close(self) -> None:
        """Stops listening; the file goes with its directory."""
        self._listener.close()
