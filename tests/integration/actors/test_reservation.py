"""Engines and ranks get room together, on nodes of our choice, apart or two to a GPU."""

from typing import Any

import pytest

from tests.support.simulated_nodes import outcome_of


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What happened on a simulated cluster with nodes of 0, 4 and 3 GPUs."""
    return outcome_of("three_nodes", seconds=800)


@pytest.mark.slow
def test_engines_stay_whole_and_ranks_together(found):
    assert sorted(size for size, _ in found["engines"]) == [3, 4]
    assert sorted(size for size, _ in found["ranks"]) == [3, 4, 4]
    assert all(len(gpus) == 2 for _, gpus in found["engines"])
    taken = [(size, gpu) for size, gpus in found["engines"] + found["ranks"] for gpu in gpus]
    assert len(set(taken)) == len(taken) == 7


@pytest.mark.slow
def test_colocated_an_engine_and_a_rank_share_each_gpu(found):
    assert len(found["pairs"]) == 2
    assert all(engine == rank and len(rank[1]) == 1 for engine, rank in found["pairs"])
    assert len({(size, gpus[0]) for (size, gpus), _ in found["pairs"]}) == 2


@pytest.mark.slow
def test_room_that_others_hold_is_not_called_missing(found):
    assert "2 GPUs and 2 CPUs are needed; of 1 node of 4 GPUs and 8 CPUs, 1 node of 3 GPUs and 8 CPUs" in found["busy"]
    assert "`ray status`" in found["busy"]


@pytest.mark.slow
def test_a_cluster_too_small_is_told_before_anything_is_reserved(found):
    assert "2 engines (4 GPU each on one node) and 1 learner ranks need 9 GPUs and 3 CPUs" in found["too small"]
    assert "no room for 1 engines" in found["too small"]


@pytest.mark.slow
def test_actors_of_a_node_that_is_lost_in_a_round_are_replaced_on_another(found):
    """Their groups are sampled there: none is lost or repeated."""
    lost = found["losing"]
    assert lost["uids"] == sorted(f"g{number}" for number in range(12))
    assert lost["on the lost node"] == ["g0"]
    assert lost["restarts"] >= 1
