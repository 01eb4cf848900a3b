"""Starting the ranks' processes with Ray, and waiting for them without hanging."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thor_ray.errors import UserError, WorkerError

CALL_TIMEOUT_SECONDS: Final = 1800.0
"""After which a call counts as hung."""

START_TIMEOUT_SECONDS: Final = 1800.0
"""For processes to start, meet and read the policy, however short their later calls are."""

GRACE_SECONDS: Final = 5.0
"""For which others are listened to once an actor has failed, to tell the cause from its consequences."""

PLACEMENT_TIMEOUT_SECONDS: Final = 120.0


class LearnerPlacementError(UserError):
    """The cluster has no room for the ranks."""


class ActorCallError(WorkerError):
    """A rank or an engine failed, died or hangs; the message names it, ``__cause__`` says why."""


@dataclass(frozen=True, slots=True)
class ReservedRanks:
    """Room for ranks that somebody else has reserved and will give back.

    Attributes:
        group: Ray's placement group.
        bundles: Index of each rank's bundle.
        gpus: GPUs that each rank takes of its bundle; less than 1 where it shares one.
    """

    group: Any
    bundles: tuple[int, ...]
    gpus: float


def place(ranks: int, cpus: int, gpus: int) -> Any:
    """Reserves one bundle per rank, on as few nodes as possible.

    Raises:
        LearnerPlacementError: there was no room in time.
    """
    bundle = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    group = placement_group([bundle] * ranks, strategy="PACK")
    if not group.wait(PLACEMENT_TIMEOUT_SECONDS):
        remove_placement_group(group)
        raise LearnerPlacementError(
            f"no room for {ranks} learner ranks of {bundle} each; free now: {ray.available_resources()}. "
            "Lower learner.ranks or add nodes"
        )
    return group


def start(worker: type, placement: Any, *, bundle: int, cpus: int, gpus: float) -> Any:
    """Starts one rank's actor in a bundle. It is never restarted: its state would be gone."""
    environment = {"OMP_NUM_THREADS": str(cpus)}
    if not gpus:
        environment["DS_ACCELERATOR"] = "cpu"
    return (
        ray.remote(worker)
        .options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(placement, placement_group_bundle_index=bundle),
            runtime_env={"env_vars": environment},
        )
        .remote()
    )


def wait_all(
    references: Sequence[Any], name: str | Sequence[str], timeout_seconds: float = CALL_TIMEOUT_SECONDS
) -> list[Any]:
    """Results in order. The first failure ends the wait, since the others may hang in a collective operation.

    Args:
        references: One call per actor.
        name: What the actors are, for messages: the call at index 2 is that of ``name 2``; or the name of each.
        timeout_seconds: For all of them.

    Raises:
        ActorCallError: one failed, or did not answer in time. An error that a method raised is its ``__cause__``.
    """
    names = [f"{name} {index}" for index in range(len(references))] if isinstance(name, str) else name
    pending, results = list(references), {}
    deadline = time.monotonic() + timeout_seconds
    while pending:
        ready, pending = ray.wait(pending, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            late = ", ".join(names[references.index(reference)] for reference in pending)
            raise ActorCallError(f"{late} gave no answer for {timeout_seconds:.0f} s")
        index = references.index(ready[0])
        try:
            results[index] = ray.get(ready[0])
        except ray.exceptions.RayTaskError as error:
            _raise_death(references, pending, names)
            silent = "".join(f"; {names[references.index(reference)]} gives no answer" for reference in pending)
            raise ActorCallError(f"{names[index]} failed: {error.cause!r}{silent}") from error.cause
        except ray.exceptions.RayError as error:
            raise ActorCallError(f"{names[index]} died: {error}") from error
    return [results[index] for index in range(len(references))]


def _raise_death(references: Sequence[Any], pending: list[Any], names: Sequence[str]) -> None:
    """Raises ``ActorCallError`` if one of the pending actors is dead, and leaves in ``pending`` those that are silent.

    An actor that loses another in a collective operation fails too, and may be heard of first.
    """
    if not pending:
        return
    answered, pending[:] = ray.wait(pending, num_returns=len(pending), timeout=GRACE_SECONDS)
    for reference in answered:
        try:
            ray.get(reference)
        except ray.exceptions.RayTaskError:
            continue
        except ray.exceptions.RayError as error:
            raise ActorCallError(f"{names[references.index(reference)]} died: {error}") from error
