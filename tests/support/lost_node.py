"""The real loop on a simulated cluster of three nodes, of which one is lost in the middle of a round, printed as JSON.

``python -m tests.support.lost_node POLICY DIRECTORY``.

A process of its own, since a process can be in one Ray cluster only. Each node has room for one actor: two engines and the
learner lie on three nodes, the driver on the first. Another node joins after the run.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from tests.support.small_loop import small_recipe, train, trained
from thor_ray.records import Record
from thor_ray.runlog import RunLog
from thor_ray.stages.workers import Workers, started_workers

PATIENCE = 300.0
"""Seconds that anything may take on a machine that others use, too."""


def node_of(actor: Any) -> str:
    where = actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
    return str(ray.get(where, timeout=PATIENCE))


def sampled(actor: Any) -> float:
    return float(ray.get(actor.stats.remote(), timeout=PATIENCE)["generated_tokens"])


def lose_in_a_round(cluster: Cluster, engine: Any) -> threading.Thread:
    """As soon as an engine has sampled something more, its node ends without a word."""
    name, before = node_of(engine), sampled(engine)
    (node,) = (each for each in cluster.list_all_nodes() if each.node_id == name)

    def watch() -> None:
        while sampled(engine) == before:
            time.sleep(0.001)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def run(workers: Workers, policy: Path, path: Path) -> list[Record]:
    recipe = small_recipe(policy, engines=2)
    with RunLog.create(path, recipe, "train") as log:
        return train(workers, recipe, log)


def wait_for_engines(workers: Workers, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(workers.fleet.actors) < count and time.monotonic() < deadline:
        workers.fleet.supervisor.mend()
        time.sleep(0.2)


def main(policy: Path, directory: Path) -> None:
    """Two rounds undisturbed, then two of which the first loses a node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.head_node, cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        with started_workers(small_recipe(policy, engines=2), policy) as workers:
            (rank,) = workers.learners._workers.handles
            found: dict[str, Any] = {
                "nodes": [node.node_id for node in nodes],
                "engines": [node_of(actor) for actor in workers.fleet.actors],
                "rank": node_of(rank),
                "undisturbed": trained(run(workers, policy, directory / "undisturbed")),
            }
            # Ray itself is on the first node.
            doomed = next(actor for actor in workers.fleet.actors if node_of(actor) != nodes[0].node_id)
            found["lost"] = node_of(doomed)
            losing = lose_in_a_round(cluster, doomed)
            found["trained"] = trained(run(workers, policy, directory / "disturbed"))
            losing.join()
            cluster.add_node(num_cpus=1)
            wait_for_engines(workers, 2)
            found["replaced"] = [node_of(actor) for actor in workers.fleet.actors]
            versions = [actor.version.remote() for actor in workers.fleet.actors]
            found["versions"] = ray.get(versions, timeout=PATIENCE)
            found["version"] = workers.learners.version
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
