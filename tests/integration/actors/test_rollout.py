"""Groups of trajectories from a real engine, sandbox and grader in a Ray actor."""

from typing import Any

import pytest
import ray

from actors.sampler import RolloutSettings
from thor_ray.config import Recipe, SamplingConfig
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import FinishReason, Group

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def problem(first: int, second: int) -> Problem:
    return Problem(f"{first}+{second}", f"What is {first} + {second}?", str(first + second), "test")


@pytest.fixture
def settings(recipe: Recipe) -> RolloutSettings:
    return RolloutSettings(SamplingConfig(max_new_tokens=200), "bare", recipe.policy.max_context)


def test_a_group_is_sampled_executed_and_graded(rollout_actor: Any, settings: RolloutSettings) -> None:
    group: Group = ray.get(rollout_actor.rollout_group.remote(problem(3, 4), 8, settings, seed=0, uid="g"))
    assert [trajectory.id for trajectory in group.trajectories] == [f"g/{sibling}" for sibling in range(8)]
    for trajectory in group.trajectories:
        assert trajectory.loss_mask().sum() == trajectory.cost.kept_tokens == (trajectory.versions >= 0).sum()
        assert (trajectory.log_probs[~trajectory.loss_mask()] == 0).all()
    answered = [each for each in group.trajectories if each.finish is FinishReason.ANSWERED]
    assert any(trajectory.successful_calls for trajectory in answered)
    assert {each.reward for each in answered} <= {0.0, 1.0}
    assert all((each.reward == 1.0) == (each.answer == "7") for each in answered if each.grade_status != "unparsable")
