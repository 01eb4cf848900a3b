"""Which node gets which engines and learner ranks: computed before anything is started, from sizes alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thor_ray.config import Recipe
from thor_ray.preflight import Fault


@dataclass(frozen=True, slots=True)
class Node:
    """What one node of the cluster offers.

    Attributes:
        name: Ray's id of the node, or what else tells it apart.
        cpus: Logical CPUs that Ray gives out.
        gpus: GPUs, whole ones.
    """

    name: str
    cpus: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a run asks for. An engine lies on one node, and so does each rank; each also takes one logical CPU.

    Attributes:
        engines: Number of engines.
        gpus_per_engine: Their tensor parallelism; 0 on a cluster without GPUs.
        ranks: Number of learner ranks with a place of their own.
        gpus_per_rank: 1, or 0 on a cluster without GPUs.
        ranks_with_engines: Number of learner ranks that share an engine's place, one each.
    """

    engines: int
    gpus_per_engine: int
    ranks: int
    gpus_per_rank: int
    ranks_with_engines: int = 0

    @classmethod
    def of(cls, recipe: Recipe, *, learners: bool, on_gpu: bool) -> "Demand":
        """What a recipe's engines and, where something is learnt, its learners ask for."""
        ranks = recipe.learner.ranks if learners else 0
        together = recipe.placement.mode == "colocated"
        return cls(
            engines=recipe.engine.actors,
            gpus_per_engine=recipe.engine.tensor_parallel if on_gpu else 0,
            ranks=0 if together else ranks,
            gpus_per_rank=int(on_gpu),
            ranks_with_engines=ranks if together else 0,
        )

    @property
    def cpus_per_engine(self) -> int:
        """Logical CPUs of an engine's place."""
        return 2 if self.ranks_with_engines else 1

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.engines * self.gpus_per_engine + self.ranks * self.gpus_per_rank

    @property
    def cpus(self) -> int:
        """Logical CPUs in all."""
        return self.engines * self.cpus_per_engine + self.ranks

    @property
    def engine_bundle(self) -> dict[str, float]:
        """What Ray reserves for an engine, and a rank that shares its place."""
        return _bundle(self.cpus_per_engine, self.gpus_per_engine)

    @property
    def rank_bundle(self) -> dict[str, float]:
        """What Ray reserves for a rank with a place of its own."""
        return _bundle(1, self.gpus_per_rank)


@dataclass(frozen=True, slots=True)
class Share:
    """What one node gets."""

    node: Node
    engines: int
    ranks: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Which node gets what, nodes that get nothing left out.

    Attributes:
        shares: Largest node first.
        missing_engines: Engines that found no place.
        missing_ranks: Ranks that found none.
    """

    shares: tuple[Share, ...]
    missing_engines: int
    missing_ranks: int

    @property
    def fits(self) -> bool:
        """Whether everything found a place."""
        return not self.missing_engines and not self.missing_ranks


def lay_out(demand: Demand, nodes: Sequence[Node]) -> Layout:
    """Puts ranks on as few nodes as engines leave room for, and engines, each whole, on what is left.

    Ranks talk to each other all the time, engines to nobody; so ranks go first, to the largest nodes. Each node gives them
    as much as it can while all else still finds room on the nodes behind it, so that everything finds a place whenever
    there is a way. Where there is none, engines go before ranks.
    """
    ordered = sorted(nodes, key=lambda node: (-node.gpus, -node.cpus, node.name))
    behind = _most_engines(demand, ordered)
    engines = min(demand.engines, int(behind[0][0]))
    ranks = max(count for count, room in enumerate(behind[0]) if room >= engines)
    missing_engines, missing_ranks = demand.engines - engines, demand.ranks - ranks
    shares = []
    for node, room_behind in zip(ordered, behind[1:], strict=True):
        given = next(
            count
            for count in range(min(ranks, _rank_room(node, demand)), -1, -1)
            if _engine_room(node, count, demand) + room_behind[ranks - count] >= engines
        )
        here = min(engines, _engine_room(node, given, demand))
        ranks, engines = ranks - given, engines - here
        if here or given:
            shares.append(Share(node, here, given))
    return Layout(tuple(shares), missing_engines, missing_ranks)


def _most_engines(demand: Demand, nodes: Sequence[Node]) -> list[list[float]]:
    """For each position, the most engines that the nodes from there on have room for beside 0, 1, ... of the ranks.

    Minus infinity where they have no room for so many ranks.
    """
    best = [[0.0, *[-math.inf] * demand.ranks]]
    for node in reversed(nodes):
        room = [_engine_room(node, count, demand) for count in range(_rank_room(node, demand) + 1)]
        best.insert(
            0,
            [
                max(room[here] + best[0][ranks - here] for here in range(min(ranks, len(room) - 1) + 1))
                for ranks in range(demand.ranks + 1)
            ],
        )
    return best


def placement_faults(demand: Demand, nodes: Sequence[Node], *, gpus_wanted: bool) -> Iterator[Fault]:
    """Why a cluster cannot take the demand: what was asked for, what there is, what is missing.

    Args:
        demand: Of the run.
        nodes: Of the cluster.
        gpus_wanted: Whether the recipe is made for GPUs.
    """
    there = describe(nodes)
    if gpus_wanted and not any(node.gpus for node in nodes):
        yield Fault(
            f"the recipe is made for GPUs, and the cluster has none: {there}",
            "join a cluster with GPUs (RAY_ADDRESS), or run on CPUs with --set placement.gpu_memory_gib=null",
        )
        return
    layout = lay_out(demand, nodes)
    if layout.fits:
        return
    engine = f"{demand.gpus_per_engine} GPU each on one node" if demand.gpus_per_engine else "1 CPU each"
    wanted = f"{demand.engines} engines ({engine})"
    if demand.ranks:
        wanted += f" and {demand.ranks} learner ranks"
    elif demand.ranks_with_engines:
        wanted += ", each with a learner rank,"
    missing = [
        f"{count} {name}"
        for count, name in ((layout.missing_engines, "engines"), (layout.missing_ranks, "ranks"))
        if count
    ]
    yield Fault(
        f"{wanted} need {_amount(demand.gpus, demand.cpus)}; the cluster has {there}; no room for {' and '.join(missing)}",
        "lower engine.actors, engine.tensor_parallel or learner.ranks, or add nodes",
    )


def describe(nodes: Sequence[Node]) -> str:
    """Nodes in words, equal ones together: ``2 nodes of 8 GPUs and 96 CPUs, 1 node of 4 CPUs``."""
    if not nodes:
        return "no nodes"
    kinds: dict[tuple[int, int], int] = {}
    for node in sorted(nodes, key=lambda node: (-node.gpus, -node.cpus)):
        kinds[node.gpus, node.cpus] = kinds.get((node.gpus, node.cpus), 0) + 1
    return ", ".join(
        f"{count} node{'s' if count > 1 else ''} of {_amount(gpus, cpus)}" for (gpus, cpus), count in kinds.items()
    )


def nodes_of(rows: Sequence[Mapping[str, Any]]) -> list[Node]:
    """The living nodes of a cluster, from what ``ray.nodes()`` gives."""
    return [
        Node(row["NodeID"], int(row["Resources"].get("CPU", 0)), int(row["Resources"].get("GPU", 0)))
        for row in rows
        if row["Alive"]
    ]


def _rank_room(node: Node, demand: Demand) -> int:
    """Ranks that a node has room for where no engine is."""
    return min(demand.ranks, node.cpus, node.gpus // demand.gpus_per_rank if demand.gpus_per_rank else node.cpus)


def _engine_room(node: Node, ranks: int, demand: Demand) -> int:
    """Engines that a node has room for beside so many ranks."""
    places = max(0, node.cpus - ranks) // demand.cpus_per_engine
    if not demand.gpus_per_engine:
        return places
    return max(0, min(places, (node.gpus - ranks * demand.gpus_per_rank) // demand.gpus_per_engine))


def _bundle(cpus: int, gpus: int) -> dict[str, float]:
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def _amount(gpus: int, cpus: int) -> str:
    return (f"{gpus} GPU{'s' if gpus > 1 else ''} and " if gpus else "") + f"{cpus} CPU{'s' if cpus != 1 else ''}"
