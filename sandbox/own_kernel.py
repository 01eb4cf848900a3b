"""A pod with a kernel of its own, for level 4: whoever runs it declares it, and what can be checked is checked.

No process can prove from within that its kernel serves nobody else. So the operator says it, and a declaration that this
machine contradicts is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

VARIABLE = "SANDBOX_OWN_KERNEL"


class OwnKernel(StrEnum):
    """What gives the pod its kernel."""

    GVISOR = "gvisor"
    VIRTUAL_MACHINE = "vm"
    """Kata Containers, Firecracker, or a virtual machine with a single tenant."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What this machine shows of itself.

    Attributes:
        gvisor: whether gVisor's kernel answers.
        virtual: whether the processor says that it is virtual; None where processors do not say.
    """

    gvisor: bool
    virtual: bool | None


def declared(name: str | None, environment: Mapping[str, str] = os.environ) -> OwnKernel | None:
    """The operator's declaration: `name`, or else the environment variable `SANDBOX_OWN_KERNEL`.

    Raises:
        ValueError: it is not the name of an `OwnKernel`.
    """
    name = environment.get(VARIABLE) or None if name is None else name
    if name is None:
        return None
    try:
        return OwnKernel(name)
    except ValueError as error:
        known = ", ".join(OwnKernel)
        raise ValueError(f"own_kernel (or {VARIABLE}) is {name!r}; it must be one of {known}") from error


def read_marks(proc: Path = Path("/proc")) -> Marks:
    """Looks at this machine."""
    cpu_flags = [line.split() for line in _read(proc / "cpuinfo").splitlines() if line.startswith("flags")]
    # gVisor's kernel, the Sentry, reports on its own memory there; no other kernel has this file.
    return Marks((proc / "sentry-meminfo").exists(), "hypervisor" in cpu_flags[0] if cpu_flags else None)


def contradiction(kernel: OwnKernel, marks: Marks) -> str | None:
    """Why the declaration cannot be true; None if nothing speaks against it."""
    if kernel is OwnKernel.GVISOR and not marks.gvisor:
        return (
            "this pod is declared to run under gVisor, but no gVisor kernel answers (/proc/sentry-meminfo is missing)"
        )
    if kernel is OwnKernel.VIRTUAL_MACHINE and marks.virtual is False:
        return "this pod is declared to be a virtual machine, but its processor is not virtual (/proc/cpuinfo)"
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
