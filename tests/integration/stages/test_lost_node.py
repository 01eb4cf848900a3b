"""A node that is lost in the middle of a round of the real loop, on a simulated cluster of three."""

import pytest

from tests.support.simulated_nodes import outcome_of
from tests.support.small_loop import GROUPS, ROUNDS, SIBLINGS

pytestmark = pytest.mark.slow


def test_a_run_that_loses_a_node_with_an_engine_trains_the_same_groups(tiny_policies, tmp_path):
    found = outcome_of("lost_node", str(tiny_policies.taught), str(tmp_path), seconds=800)
    assert sorted([*found["engines"], found["rank"]]) == sorted(found["nodes"])
    assert found["trained"] == found["undisturbed"]
    assert len(set(found["trained"])) == len(found["trained"]) == ROUNDS * GROUPS * SIBLINGS
    # The engine's successor is on the node that came up instead, and serves what the learner has.
    assert len(found["replaced"]) == 2
    assert len(set(found["replaced"]) - set(found["nodes"])) == 1
    assert found["lost"] not in found["replaced"]
    assert found["versions"] == [found["version"]] * 2
