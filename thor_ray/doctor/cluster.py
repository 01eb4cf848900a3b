"""Whether a run would join a Ray cluster or start one, whether it may, and whether the usual ports are free."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from thor_ray.doctor.check import Check, Verdict
from thor_ray.preflight import listens, port_faults

PORTS: Final = {8265: "Ray's dashboard and jobs", 6379: "Ray's head", 10001: "Ray's clients"}
"""Ports that ``ray start --head`` takes unless it is told otherwise."""

NOTE: Final = Path("ray/ray_current_cluster")
"""Where ``ray start`` notes the cluster's address, below Ray's temporary directory."""


def check_ray() -> Check:
    """Whether a run would join a cluster or start its own, and whether that cluster answers."""
    named = os.environ.get("RAY_ADDRESS")
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / NOTE
    noted = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
    if named:
        return _judge_address(named, f"RAY_ADDRESS={named}", "start it, or unset RAY_ADDRESS")
    if noted and listens(noted):
        return Check("ray cluster", Verdict.OK, f"{noted}, started on this machine: runs join it")
    return Check("ray cluster", Verdict.OK, "RAY_ADDRESS is not set, and none was started here: runs start their own")


def check_ray_authentication() -> Check:
    """Whether this user would be let in where a cluster asks for a token, as Ray's clusters do by default."""
    return judge_authentication(os.environ, Path.home())


def judge_authentication(environment: Mapping[str, str], home: Path) -> Check:
    """See `check_ray_authentication`.

    Args:
        environment: Of the process.
        home: Of the user.
    """
    mode = environment.get("RAY_AUTH_MODE", "")
    token = environment.get("RAY_AUTH_TOKEN")
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH", home / ".ray" / "auth_token"))
    source = "RAY_AUTH_TOKEN" if token else str(path) if path.is_file() else None
    if mode == "disabled":
        open_to = "whoever reaches its ports may run code on the cluster"
        return Check("ray authentication", Verdict.OK, f"disabled by RAY_AUTH_MODE: {open_to}")
    if source:
        return Check("ray authentication", Verdict.OK, f"token from {source}")
    remedy = "ray get-auth-token --generate, and the same token on every node"
    if mode == "token":
        return Check("ray authentication", Verdict.ERROR, "RAY_AUTH_MODE=token, and there is no token", remedy)
    return Check("ray authentication", Verdict.OK, f"no token; a cluster that asks for one needs: {remedy}")


def check_ports() -> Check:
    """A taken port stops `ray start` on this machine, but no run: a cluster of a run's own takes free ones."""
    taken = [f"{port} ({what})" for port, what in PORTS.items() if any(port_faults(port, what))]
    if not taken:
        return Check("ports", Verdict.OK, f"{', '.join(map(str, PORTS))} are free")
    return Check(
        "ports", Verdict.WARNING, f"{', '.join(taken)} taken", "runs take others; give `ray start` other ports"
    )


def _judge_address(address: str, found: str, remedy: str) -> Check:
    if listens(address):
        return Check("ray cluster", Verdict.OK, f"{found}: runs join that cluster")
    return Check("ray cluster", Verdict.ERROR, f"{found}, but nothing answers there", remedy)
