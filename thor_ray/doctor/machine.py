"""Cores, memory, disks, GPUs, and how well programs can be confined."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from thor_ray.doctor.check import Check, Verdict
from thor_ray.environment import package_version
from thor_ray.files import free_mebibytes
from thor_ray.preflight import available_memory
from thor_ray.run_directory import RUNS

NEEDED_MEMORY_MEBIBYTES: Final = 4096
AMPLE_MEMORY_MEBIBYTES: Final = 8192
NEEDED_DISK_MEBIBYTES: Final = 1024
AMPLE_DISK_MEBIBYTES: Final = 10240
AMPLE_SHARED_MEMORY_MEBIBYTES: Final = 1024


def check_cores() -> Check:
    """Engine and learner each want a core."""
    from os import sched_getaffinity

    cores = len(sched_getaffinity(0))
    if cores >= 2:
        return Check("cores", Verdict.OK, str(cores))
    return Check("cores", Verdict.WARNING, str(cores), "expect the smoke to take twice as long")


def check_memory() -> Check:
    """What is free now, limits of the container included."""
    available = available_memory()
    found = f"{available / 1024:.1f} GiB available"
    if available >= AMPLE_MEMORY_MEBIBYTES:
        return Check("memory", Verdict.OK, found)
    verdict = Verdict.WARNING if available >= NEEDED_MEMORY_MEBIBYTES else Verdict.ERROR
    return Check("memory", verdict, found, f"the smoke wants {AMPLE_MEMORY_MEBIBYTES // 1024} GiB: end other programs")


def check_disk() -> Check:
    """Where run directories go."""
    free = free_mebibytes(RUNS)
    found = f"{free / 1024:.1f} GiB free for {RUNS.absolute()}"
    if free >= AMPLE_DISK_MEBIBYTES:
        return Check("disk", Verdict.OK, found)
    verdict = Verdict.WARNING if free >= NEEDED_DISK_MEBIBYTES else Verdict.ERROR
    return Check("disk", verdict, found, "free some space, or choose another place with --run-dir")


def check_shared_memory() -> Check:
    """Ray's object store lives there; containers often give it 64 MiB."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return Check("/dev/shm", Verdict.WARNING, "absent", "Ray will use /tmp, which is slower")
    free = free_mebibytes(place)
    if free >= AMPLE_SHARED_MEMORY_MEBIBYTES:
        return Check("/dev/shm", Verdict.OK, f"{free / 1024:.1f} GiB free")
    return Check("/dev/shm", Verdict.WARNING, f"{free} MiB free", "start the container with --shm-size=2g")


def check_gpu() -> Check:
    """Names the devices. None is no fault: everything runs on a CPU as well."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", Verdict.OK, "none; engines and learners run on the CPU")
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("GPU", Verdict.WARNING, f"nvidia-smi failed: {error}", "mend the driver, or go on with the CPU")
    devices = "; ".join(done.stdout.strip().splitlines())
    if package_version("vllm") is None:
        return Check("GPU", Verdict.WARNING, f"{devices}, but the CPU build of vLLM", "THOR_EXTRA=gpu make setup")
    return Check("GPU", Verdict.OK, devices)


def check_nccl() -> Check:
    """Learner ranks on GPUs talk through NCCL; torch is asked only where there is a GPU, since its import takes seconds."""
    if shutil.which("nvidia-smi") is None:
        return Check("NCCL", Verdict.OK, "not needed without GPUs; ranks talk through gloo")
    import torch

    if torch.cuda.is_available() and torch.distributed.is_nccl_available():
        return Check("NCCL", Verdict.OK, ".".join(map(str, torch.cuda.nccl.version())))
    why = "torch sees no GPU" if not torch.cuda.is_available() else "torch was built without it"
    return Check("NCCL", Verdict.WARNING, why, "THOR_EXTRA=gpu make setup, in an environment of its own")


def check_sandbox() -> Check:
    """Starts a sandbox and reports the confinement that its live probes grant."""
    from sandbox import Level, Sandbox, SandboxUnavailable

    try:
        with Sandbox(workers=1, preload=(), min_level=Level.LIMITS, allow_insecure=True) as sandbox:
            isolation, result = sandbox.isolation, sandbox.run("print(6 * 7)", timeout=10)
    except SandboxUnavailable as error:
        return Check("sandbox", Verdict.ERROR, str(error), "see docs/sandbox.md for what it needs of the kernel")
    found = f"level {isolation.level:d} ({isolation.level.name.lower()})"
    if result.stdout.strip() != "42":
        return Check("sandbox", Verdict.ERROR, f"{found}, but a test program ended with {result.status}", "make setup")
    if isolation.level >= Level.CONFINED:
        return Check("sandbox", Verdict.OK, f"{found}, Landlock ABI {isolation.landlock_abi}")
    return Check(
        "sandbox",
        Verdict.ERROR,
        f"{found}: {'; '.join(isolation.shortfalls)}",
        "run on x86-64 Linux 6.2 or newer with Landlock and seccomp allowed",
    )
