"""Everything finds a place whenever there is a way, ranks together, and what is missing is named."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.layout import Demand, Layout, Node, describe, lay_out, nodes_of, placement_faults
from thor_ray.config import Recipe, load_recipe

clusters = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=4).map(
    lambda sizes: [Node(f"n{index}", cpus, gpus) for index, (cpus, gpus) in enumerate(sizes)]
)
demands = st.one_of(
    st.builds(Demand, st.integers(1, 5), st.integers(1, 4), st.integers(0, 6), st.just(1)),
    st.builds(Demand, st.integers(1, 5), st.just(0), st.integers(0, 6), st.just(0)),
)


def holds(demand: Demand, node: Node, engines: int, ranks: int) -> bool:
    gpus = engines * demand.gpus_per_engine + ranks * demand.gpus_per_rank
    return gpus <= node.gpus and engines + ranks <= node.cpus


def possible(demand: Demand, nodes: list[Node]) -> bool:
    """Whether there is any way, found by trying all."""
    choices = [
        [
            (engines, ranks)
            for engines, ranks in product(range(demand.engines + 1), range(demand.ranks + 1))
            if holds(demand, node, engines, ranks)
        ]
        for node in nodes
    ]
    reached = {(0, 0)}
    for choice in choices:
        reached = {(have[0] + more[0], have[1] + more[1]) for have in reached for more in choice}
    return any(engines >= demand.engines and ranks >= demand.ranks for engines, ranks in reached)


@example(Demand(2, 2, 2, 1), [Node("n0", 1, 2), Node("n1", 1, 3), Node("n2", 2, 2)])
@given(demands, clusters)
def test_a_layout_fits_exactly_if_there_is_a_way(demand, nodes):
    layout = lay_out(demand, nodes)
    for share in layout.shares:
        assert holds(demand, share.node, share.engines, share.ranks)
    placed = sum(share.engines for share in layout.shares), sum(share.ranks for share in layout.shares)
    assert placed == (demand.engines - layout.missing_engines, demand.ranks - layout.missing_ranks)
    assert layout.fits == possible(demand, nodes)
    assert bool(list(placement_faults(demand, nodes, gpus_wanted=False))) == (not layout.fits)


def shares(layout: Layout) -> dict[str, tuple[int, int]]:
    return {share.node.name: (share.engines, share.ranks) for share in layout.shares}


def test_ranks_share_a_node_and_engines_take_the_rest():
    nodes = [Node("a", 32, 8), Node("b", 32, 8)]
    assert shares(lay_out(Demand(8, 1, 8, 1), nodes)) == {"a": (0, 8), "b": (8, 0)}


def test_engines_stay_whole_on_nodes_of_different_sizes():
    nodes = [Node("small", 8, 2), Node("large", 32, 8), Node("odd", 8, 3)]
    assert shares(lay_out(Demand(3, 2, 7, 1), nodes)) == {"large": (1, 6), "odd": (1, 1), "small": (1, 0)}


def test_a_cluster_without_gpus_gives_each_a_cpu():
    demand = Demand.of(Recipe(), learners=True, on_gpu=False)
    assert (demand.gpus, demand.cpus) == (0, 2)
    assert shares(lay_out(demand, [Node("a", 1), Node("b", 1)])) == {"a": (0, 1), "b": (1, 0)}


def test_a_cluster_too_small_is_told_what_is_there_and_what_is_missing():
    demand = Demand.of(load_recipe("thor-7b", ["engine.tensor_parallel=2"]), learners=True, on_gpu=True)
    (fault,) = placement_faults(demand, [Node("a", 96, 8), Node("b", 96, 8), Node("c", 4)], gpus_wanted=True)
    assert "8 engines (2 GPU each on one node) and 8 learner ranks need 24 GPUs and 16 CPUs" in fault.message
    assert "the cluster has 2 nodes of 8 GPUs and 96 CPUs, 1 node of 4 CPUs" in fault.message
    assert fault.message.endswith("no room for 8 ranks")
    assert "engine.actors" in fault.remedy


def test_gpus_that_are_wanted_and_absent_are_the_first_thing_said():
    (fault,) = placement_faults(Demand(1, 0, 1, 0), [Node("a", 64)], gpus_wanted=True)
    assert "made for GPUs, and the cluster has none: 1 node of 64 CPUs" in fault.message
    assert "placement.gpu_memory_gib=null" in fault.remedy


def test_rays_own_rows_are_read_and_dead_nodes_left_out():
    rows = [
        {"NodeID": "x", "Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0, "node:127.0.0.1": 1.0}},
        {"NodeID": "y", "Alive": False, "Resources": {"CPU": 4.0}},
        {"NodeID": "z", "Alive": True, "Resources": {}},
    ]
    assert nodes_of(rows) == [Node("x", 4, 2), Node("z", 0, 0)]


@pytest.mark.parametrize(("nodes", "words"), [([], "no nodes"), ([Node("a", 1, 1)], "1 node of 1 GPU and 1 CPU")])
def test_nodes_in_words(nodes, words):
    assert describe(nodes) == words


PAIRS = ["placement.mode=colocated", "engine.actors=8", "learner.ranks=8", "publishing.transport=cuda_ipc"]


def test_colocated_pairs_need_one_gpu_and_two_cpus_each():
    recipe = load_recipe("thor-1.5b", PAIRS)
    demand = Demand.of(recipe, learners=True, on_gpu=True)
    assert (demand.gpus, demand.cpus, demand.engine_bundle) == (8, 16, {"CPU": 2, "GPU": 1})
    assert shares(lay_out(demand, [Node("a", 96, 8)])) == {"a": (8, 0)}
    (fault,) = placement_faults(demand, [Node("a", 14, 8)], gpus_wanted=True)
    assert "8 engines (1 GPU each on one node), each with a learner rank, need 8 GPUs and 16 CPUs" in fault.message
    assert "no room for 1 engines" in fault.message
    alone = Demand.of(recipe, learners=False, on_gpu=True)
    assert (alone.gpus, alone.cpus) == (8, 8)
