"""The recipe's options of objective and filters: the paper's defaults, and refusal of what would do nothing."""

import re

import pytest

from thor_ray.config import RecipeError, validate_recipe


def test_the_defaults_are_the_papers():
    objective = validate_recipe({}, "test").rl.objective
    assert (objective.clip_low, objective.clip_high, objective.dual_clip) == (0.2, 0.28, 3.0)
    assert (objective.nll_weight, objective.kl_weight, objective.entropy_weight) == (0.01, 0, 0)
    assert (objective.episode_weight, objective.step_weight, objective.denominator) == (1, 1, "per_level")
    assert (objective.aggregation, objective.ratio, objective.normalise_advantages) == ("token_mean", "token", True)
    assert objective.off_policy.when == "stale"
    assert not objective.mixed_batch


@pytest.mark.parametrize(
    ("rl", "said"),
    [
        ({"objective": {"norm_tokens": 100}}, "norm_tokens does nothing with aggregation: token_mean"),
        ({"objective": {"aggregation": "sequence_mean_token_sum_norm"}}, "needs objective.norm_tokens"),
        ({"objective": {"episode_weight": 0, "step_weight": 0}}, "there would be no loss"),
        ({"objective": {"step_weight": 0}}, "samples steps that teach nothing"),
        ({"step_level": False, "objective": {"step_weight": 2}}, "step_weight does nothing"),
        ({"step_level": False, "objective": {"episode_weight": 0}}, "there would be no loss"),
        ({"step_level": False, "objective": {"denominator": "shared"}}, "shared does nothing"),
        ({"objective": {"mixed_batch": True}}, "set denominator: shared"),
        ({"objective": {"mixed_batch": True, "denominator": "shared", "step_weight": 2}}, "knows no levels"),
        (
            {"objective": {"mixed_batch": True, "denominator": "shared", "aggregation": "sequence_mean"}},
            "aggregation: token_mean",
        ),
        ({"objective": {"off_policy": {"when": "never", "upper": 3}}}, "never leaves upper without effect"),
        ({"objective": {"off_policy": {"lower": 0.5}}}, "lower does nothing in mode truncate"),
        ({"objective": {"off_policy": {"upper": 1}}}, "greater than 1"),
        ({"objective": {"dual_clip": 1}}, "greater than 1"),
        ({"objective": {"kl_weight": -1}}, "greater than or equal to 0"),
        ({"no_action_reward": 1}, "less than or equal to 0"),
        ({"filters": {"min_survivors": 1.5}}, "less than or equal to 1"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused(rl, said):
    with pytest.raises(RecipeError, match=re.escape(said)):
        validate_recipe({"rl": rl}, "test")


@pytest.mark.parametrize(
    "rl",
    [
        {"objective": {"mixed_batch": True, "denominator": "shared"}},
        {"step_level": False, "objective": {"mixed_batch": True, "denominator": "shared"}},
        {"objective": {"aggregation": "sequence_mean_token_sum_norm", "norm_tokens": 256}},
        {"objective": {"off_policy": {"mode": "mask", "lower": 0.5, "upper": 5.0, "when": "always"}}},
        {"objective": {"off_policy": {"when": "never"}}},
        {"objective": {"dual_clip": None, "episode_weight": 0}},
        {"no_action_reward": 0.0},
    ],
)
def test_what_acts_is_accepted(rl):
    validate_recipe({"rl": rl}, "test")


def test_a_resolved_recipe_with_every_option_reads_back_as_itself():
    recipe = validate_recipe({"rl": {"objective": {"off_policy": {"when": "never"}}}}, "test")
    assert validate_recipe(recipe.model_dump(mode="json"), "resolved") == recipe
