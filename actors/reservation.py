"""Room on the cluster for engines and learner ranks together, reserved before either is started."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import placement_group, remove_placement_group

from actors.layout import Demand, Layout, Node, describe, lay_out, nodes_of, placement_faults
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.preflight import require

WAIT_SECONDS: Final = 120.0
"""How long room that others hold is waited for: what has just ended gives its room back with some delay."""

POLL_SECONDS: Final = 0.5

NODE_LABEL: Final = "ray.io/node-id"
"""Ray's own label of each node; a bundle that selects it lies there."""


class ClusterBusyError(UserError):
    """The cluster is large enough, but others hold what is needed."""


@dataclass(frozen=True, slots=True)
class Bundles:
    """Where the actors of one role go.

    Attributes:
        group: Ray's placement group.
        indices: Bundle of each actor.
        gpus: GPUs that each takes of its bundle; a half where it shares one.
        nodes: Where each bundle lies, by Ray's ids of nodes; empty where that is unknown.
    """

    group: Any
    indices: tuple[int, ...]
    gpus: float
    nodes: tuple[str, ...] = ()


class Reservation:
    """Room for a recipe's engines and ranks, each bundle on a node of our choice, until the block ends.

    Args:
        recipe: Sections ``engine``, ``learner`` and ``placement`` are used.
        learners: Whether ranks are needed.
        wait_seconds: For room that others hold.

    Attributes:
        engines: Where the engines go.
        ranks: Where the ranks go.

    Raises:
        PreflightError: the cluster is too small; the message says what is there and what is missing.
        ClusterBusyError: others hold what is needed, and did not give it back in time.
    """

    def __init__(self, recipe: Recipe, *, learners: bool, wait_seconds: float = WAIT_SECONDS) -> None:
        nodes = nodes_of(ray.nodes())
        on_gpu = any(node.gpus for node in nodes)
        self._demand = demand = Demand.of(recipe, learners=learners, on_gpu=on_gpu)
        require(placement_faults(demand, nodes, gpus_wanted=recipe.placement.gpu_memory_gib is not None))
        layout = self._await_room(nodes, wait_seconds)
        engine_nodes = [share.node.name for share in layout.shares for _ in range(share.engines)]
        rank_nodes = [share.node.name for share in layout.shares for _ in range(share.ranks)]
        self._group = placement_group(
            [demand.engine_bundle] * len(engine_nodes) + [demand.rank_bundle] * len(rank_nodes),
            strategy="PACK",
            bundle_label_selector=[{NODE_LABEL: name} for name in engine_nodes + rank_nodes],
        )
        engines = tuple(range(len(engine_nodes)))
        shared = demand.ranks_with_engines > 0
        own = tuple(range(len(engines), len(engines) + len(rank_nodes)))
        rank_bundles = engines[: demand.ranks_with_engines] if shared else own
        self.engines = Bundles(self._group, engines, demand.gpus_per_engine / (2 if shared else 1), tuple(engine_nodes))
        self.ranks = Bundles(self._group, rank_bundles, demand.gpus_per_rank / (2 if shared else 1))
        if not self._group.wait(wait_seconds):
            self.release()
            raise self._busy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives the room back; actors that are in it end."""
        remove_placement_group(self._group)

    def _await_room(self, nodes: Sequence[Node], wait_seconds: float) -> Layout:
        """A layout on what is free, as soon as there is one."""
        deadline = time.monotonic() + wait_seconds
        while not (layout := lay_out(self._demand, _free(nodes))).fits:
            if time.monotonic() > deadline:
                raise self._busy()
            time.sleep(POLL_SECONDS)
        return layout

    def _busy(self) -> ClusterBusyError:
        nodes = nodes_of(ray.nodes())
        return ClusterBusyError(
            f"{self._demand.gpus} GPUs and {self._demand.cpus} CPUs are needed; of {describe(nodes)} only "
            f"{describe(_free(nodes))} are free",
            "wait until other jobs on the cluster have ended (`ray status` lists what they hold), or add nodes",
        )


def _free(nodes: Sequence[Node]) -> list[Node]:
    """The nodes with what nobody holds of them now; Ray has no public name for it by node."""
    free = available_resources_per_node()
    return [
        Node(node.name, int(free[node.name].get("CPU", 0)), int(free[node.name].get("GPU", 0)))
        for node in nodes
        if node.name in free
    ]
