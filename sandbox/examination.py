"""How well this machine confines, with everything that was tried: for people, not for the running of programs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.api import Sandbox
from sandbox.errors import SandboxUnavailable
from sandbox.isolation import ProbeTargets, remedy
from sandbox.result import Isolation, Level


@dataclass(frozen=True, slots=True)
class Examination:
    """What a sandbox found.

    Attributes:
        isolation: the highest level that this machine gives, and why not a higher one.
        escapes: each attempt to break out of it, by name, and whether it got through; empty at level 0, which promises
            nothing that could be tried.
    """

    isolation: Isolation
    escapes: Mapping[str, bool]

    @property
    def suffices(self) -> bool:
        """Whether programs that nobody has read may run here: the default of `Sandbox`."""
        return self.isolation.level >= Level.CONFINED and not any(self.escapes.values())

    @property
    def remedy(self) -> str:
        """What gives the next higher level; empty at the highest."""
        level = self.isolation.level
        if level is Level.OWN_KERNEL:
            return ""
        return remedy(Level(max(level + 1, Level.CONFINED)))


def examine() -> Examination:
    """Opens a sandbox at whatever level there is and tries to escape from it; takes about a second.

    Raises:
        SandboxUnavailable: no program can be run here, or the operator's declaration of a kernel is contradicted.
        ValueError: SANDBOX_OWN_KERNEL holds no name of a kernel.
    """
    with Sandbox(workers=1, preload=(), min_level=Level.LIMITS, allow_insecure=True) as sandbox:
        isolation = sandbox.isolation
        return Examination(isolation, {} if isolation.level is Level.LIMITS else _try_to_escape(sandbox))


def _try_to_escape(sandbox: Sandbox) -> dict[str, bool]:
    """The attempts that the level was granted for, once more."""
    level = sandbox.isolation.level
    if level is Level.OWN_KERNEL:  # a promise of the operator; what it is built on can be tried
        level = Level.NAMESPACED if sandbox.isolation.namespaces else Level.CONFINED
    with tempfile.TemporaryDirectory(prefix="sandbox-examination-") as directory:
        targets = ProbeTargets.make(Path(directory))
        try:
            (probed,) = sandbox.run_batch([targets.request(level, sandbox.limits)])
        finally:
            targets.close()
    if not probed.ok:
        reason = f"the escape attempts ended with {probed.status}: {probed.error_line or probed.stderr.strip()}"
        raise SandboxUnavailable(f"{reason}; try again on a machine with less to do")
    outcomes = json.loads(probed.stdout)
    return dict.fromkeys(outcomes["held"], False) | dict.fromkeys(outcomes["through"], True)
