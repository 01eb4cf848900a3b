"""``--dry-run``: everything about the machines that a run would depend on, looked at without starting anything."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console

from actors.layout import Demand, Node, describe, placement_faults
from actors.placement import existing_cluster, nodes_at
from thor_ray.preflight import Fault, port_faults, require
from thor_ray.stages.plan import LEARNING, Plan

RAY_DASHBOARD_PORT: Final = 8265


def check_cluster(plan: Plan, console: Console) -> None:
    """Looks whether the plan's actors would find a place: on the cluster that the run would join, or on this machine.

    Args:
        plan: What is to be run.
        console: Gets a line on the cluster, and one on a port that is taken though that stops nobody.

    Raises:
        ClusterError: a cluster is named, but does not answer.
        PreflightError: there is no room; the message says what is there and what is missing.
    """
    address = existing_cluster()
    if address is None:
        nodes = [_this_machine(plan)]
        console.print(f"cluster: one of our own on this machine, {describe(nodes)}", highlight=False)
        for fault in port_faults(RAY_DASHBOARD_PORT, "Ray's dashboard"):
            console.print(f"{fault.message}; Ray will take the next one that is free", style="yellow", highlight=False)
    else:
        nodes = nodes_at(address)
        console.print(f"cluster: {address}, {describe(nodes)}", highlight=False)
    require(room_faults(plan, nodes))


def room_faults(plan: Plan, nodes: list[Node]) -> Iterator[Fault]:
    """Why the plan's actors would find no place on these nodes."""
    learners = any(stage in LEARNING for stage in plan.stages)
    demand = Demand.of(plan.recipe, learners=learners, on_gpu=any(node.gpus for node in nodes))
    return placement_faults(demand, nodes, gpus_wanted=plan.recipe.placement.gpu_memory_gib is not None)


def _this_machine(plan: Plan) -> Node:
    """This machine as a cluster of our own would offer it: with as many logical CPUs as the actors ask for."""
    import os

    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    needed = plan.recipe.engine.actors + plan.recipe.learner.ranks
    return Node("this machine", max(needed, os.cpu_count() or 1), gpus)
