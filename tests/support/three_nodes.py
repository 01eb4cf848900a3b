"""Reservations on a simulated cluster of three unequal nodes, of which one is lost in the end, printed as JSON.

``python -m tests.support.three_nodes``.

A process of its own, since a process can be in one Ray cluster only. Its GPUs are made up: Ray counts them, nobody uses them.
"""

import asyncio
import json
from typing import Any
from unittest.mock import patch

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.fleet import Call, RolloutFleet
from actors.placement import actor_options
from actors.reservation import Bundles, ClusterBusyError, Reservation
from actors.supervision import Repair
from thor_ray.config import Recipe, RestartConfig, validate_recipe
from thor_ray.errors import PreflightError


class Probe:
    """Says where it is."""

    def where(self) -> tuple[str, list[str]]:
        context = ray.get_runtime_context()
        return context.get_node_id(), context.get_accelerator_ids()["GPU"]


class Sampler:
    """Stands in for a rollout actor: says where it is. Only the first group is ever finished on the node to be lost."""

    async def ready(self) -> int:
        return 0

    async def sample(self, uid: str, doomed: str) -> tuple[str, str]:
        here = ray.get_runtime_context().get_node_id()
        if here == doomed and uid != "g0":
            await asyncio.sleep(3600)
        return uid, here


def recipe(engines: int, tensor_parallel: int, ranks: int, mode: str = "disaggregated") -> Recipe:
    tree: dict[str, Any] = {
        "engine": {"actors": engines, "tensor_parallel": tensor_parallel},
        "learner": {"ranks": ranks},
        "placement": {"mode": mode, "gpu_memory_gib": 80},
        "publishing": {"transport": "cuda_ipc" if mode == "colocated" else "auto"},
    }
    return validate_recipe(tree, "test")


def probes(bundles: Bundles) -> list[tuple[int, list[str]]]:
    """For each actor of a role the number of GPUs of its node, and its GPUs' ids."""
    started = [
        ray.remote(Probe)
        .options(
            num_cpus=1,
            num_gpus=bundles.gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(bundles.group, placement_group_bundle_index=index),
        )
        .remote()
        for index in bundles.indices
    ]
    sizes = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in ray.nodes()}
    return [(sizes[node], gpus) for node, gpus in ray.get([probe.where.remote() for probe in started])]


def refusal(asked: Recipe) -> str:
    try:
        Reservation(asked, learners=True, wait_seconds=1.0)
    except (ClusterBusyError, PreflightError) as error:
        return str(error)
    return "was not refused"


def losing(cluster: Cluster) -> dict[str, Any]:
    """A round of a fleet that loses the node of its first actor, maybe of all, after that has finished a group."""
    with Reservation(recipe(3, 1, 1), learners=False) as room:
        doomed = room.engines.nodes[0]
        (node,) = (each for each in cluster.list_all_nodes() if each.node_id == doomed)

        def start(place: int) -> Any:
            return ray.remote(Sampler).options(**actor_options(room.engines, place)).remote()

        fleet = RolloutFleet([start(place) for place in range(3)], repair=Repair(start, None, RestartConfig()))
        asked = [{"uid": f"g{number}", "doomed": doomed} for number in range(12)]
        calls = [Call(number, "sample", request, home=number % 3) for number, request in enumerate(asked)]
        answers: list[tuple[str, str]] = []
        # A call that is given from one engine of the lost node to the next is to blame for none of them.
        with patch("actors.fleet.MOST_ATTEMPTS", 1):
            for completed in fleet.stream(calls):
                answers.append(completed.result)
                if completed.call.key == 0:
                    cluster.remove_node(node)
    return {
        "uids": sorted(uid for uid, _ in answers),
        "on the lost node": [uid for uid, where in answers if where == doomed],
        "restarts": fleet.supervisor.restarts,
    }


def main() -> None:
    """Reserves apart, together, too much, and what is taken; then loses a node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=8, num_gpus=4)
    cluster.add_node(num_cpus=8, num_gpus=3)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    found: dict[str, Any] = {}
    try:
        with Reservation(recipe(2, 2, 3), learners=True) as room:
            found["engines"], found["ranks"] = probes(room.engines), probes(room.ranks)
            found["busy"] = refusal(recipe(1, 1, 1))
        with Reservation(recipe(2, 1, 2, "colocated"), learners=True) as room:
            found["pairs"] = list(zip(probes(room.engines), probes(room.ranks), strict=True))
        found["too small"] = refusal(recipe(2, 4, 1))
        found["losing"] = losing(cluster)
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
