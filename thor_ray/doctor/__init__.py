"""``thor doctor``: can this machine run the loop, and if not, what to do about it."""

from collections.abc import Callable, Iterator
from typing import Final

from thor_ray.config import Recipe
from thor_ray.doctor.check import Check, Verdict
from thor_ray.doctor.cluster import check_ports, check_ray, check_ray_authentication
from thor_ray.doctor.machine import (
    check_cores,
    check_disk,
    check_gpu,
    check_memory,
    check_nccl,
    check_sandbox,
    check_shared_memory,
)
from thor_ray.doctor.paths import check_base_model, check_data, check_recipe_model, check_recipe_problems
from thor_ray.doctor.software import check_conflicts, check_grader, check_packages, check_python

CHECKS: Final[tuple[Callable[[], Check], ...]] = (
    check_python,
    check_packages,
    check_conflicts,
    check_cores,
    check_memory,
    check_disk,
    check_shared_memory,
    check_gpu,
    check_nccl,
    check_ray,
    check_ray_authentication,
    check_ports,
    check_data,
    check_base_model,
    check_sandbox,
    check_grader,
)
"""The quick ones first."""


def examine(recipe: Recipe | None = None) -> Iterator[Check]:
    """All checks of this floor; they take a few seconds, since a sandbox and a grader are really started.

    Args:
        recipe: Its model and problems are looked at, too.
    """
    for check in CHECKS:
        yield check()
    if recipe is not None:
        yield check_recipe_model(recipe)
        yield check_recipe_problems(recipe)


__all__ = ["Check", "Verdict", "examine"]
