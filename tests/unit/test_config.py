"""Recipes are validated whole, before anything starts (invariant 13)."""

from pathlib import Path

import pytest
import yaml

from thor_ray.config import Recipe, RecipeError, load_recipe, recipe_names, validate_recipe


def write(tmp_path: Path, tree: object) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid(name):
    assert load_recipe(name).name == name


def test_a_resolved_recipe_reads_back_as_itself(tmp_path):
    recipe = load_recipe(write(tmp_path, {"seed": 3}), ["rl.group_size=4", "problems.train.families=[gcd, lcm]"])
    assert recipe.rl.group_size == 4
    assert recipe.problems.train.families == {"gcd": 1, "lcm": 1}
    assert load_recipe(write(tmp_path, recipe.model_dump(mode="json"))) == recipe


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"rl": {"group_sise": 4}}, ["rl.group_sise", "did you mean 'group_size'"]),
        ({"rl": {"group_size": 1}}, ["rl.group_size", "greater than or equal to 2", "got 1"]),
        ({"rl": {"sampling": {"top_p": 0.9}}}, ["top_p", "bias every ratio"]),
        ({"rl": {"sampling": {"temperature": 0}}}, ["temperature"]),
        ({"rl": {"step_level": False, "objective": {"denominator": "shared"}}}, ["does nothing"]),
        ({"sandbox": {"cpu_seconds": 5}}, ["cpu_seconds: 5 does nothing", "lower it"]),
        ({"policy": {"max_context": 128}}, ["max_new_tokens", "max_context 128"]),
        ({"learner": {"micro_batch_tokens": 256}}, ["micro_batch_tokens is 256", "max_context 512"]),
        ({"learner": {"zero_stage": 0}, "policy": {"dtype": "bfloat16"}}, ["zero_stage 0", "float32"]),
        ({"problems": {"train": {"families": {"gcd": 0}}}}, ["problems.train.families", "above 0"]),
        ({"policy": {"template": "nope"}}, ["template 'nope'", "bare"]),
        (
            {"policy": {"template": "cot"}, "rl": {"sampling": {"max_rounds": 0}}},
            ["asks for text alone", "evaluation.sampling.max_rounds is 5"],
        ),
        ({"problems": {"train": {"answer_field": "gold"}}}, ["do nothing without file"]),
        ({"problems": {"decontamination": {"ngram": 8}}}, ["do nothing without against"]),
        ({"problems": {"decontamination": {"against": ["math500"], "min_share": 0}}}, ["min_share", "got 0"]),
        ({"name": "a/b"}, ["name", "a/b"]),
        ({"rl": 3}, ["rl", "got 3"]),
        ({"seed": -1, "learner": {"ranks": 0}}, ["seed", "learner.ranks"]),
    ],
)
def test_a_faulty_recipe_is_refused_by_field_value_and_remedy(tree, said):
    with pytest.raises(RecipeError) as refusal:
        validate_recipe(tree, "here")
    for words in said:
        assert words in str(refusal.value)


@pytest.mark.parametrize("override", ["rl.rounds", "=3", "rl..rounds=3", "seed.x=1", "rl.rounds=[", "nope=1"])
def test_a_faulty_override_is_refused(tmp_path, override):
    with pytest.raises(RecipeError):
        load_recipe(write(tmp_path, {"seed": 3}), [override])


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "just words"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(str(path))


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(RecipeError, match="no recipe 'smoek'"):
        load_recipe("smoek")


def test_text_alone_goes_with_no_programs_at_all():
    silent = {"sampling": {"max_rounds": 0}}
    recipe = validate_recipe({"policy": {"template": "cot"}, "rl": silent, "evaluation": silent}, "here")
    assert recipe.rl.sampling.max_rounds == recipe.evaluation.sampling.max_rounds == 0


def test_defaults_follow_the_paper():
    recipe = Recipe()
    assert (recipe.rl.objective.clip_low, recipe.rl.objective.clip_high) == (0.2, 0.28)
    assert recipe.rl.objective.nll_weight == 0.01
    assert recipe.rl.suffix_tokens == 100
    assert recipe.rl.filters.failed_code
    assert recipe.rl.filters.min_survivors == 0.5
    assert (recipe.evaluation.sampling.temperature, recipe.evaluation.sampling.top_k) == (0.6, 50)
    assert recipe.evaluation.correction.attempts == 4
