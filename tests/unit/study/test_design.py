"""What a study consists of."""

import pytest

from thor_ray.config import Recipe, load_recipe
from thor_ray.study.design import KNOBS, ROWS, RUNS, needed


def test_the_rows_of_the_paper_come_in_its_order():
    assert [row.label for row in ROWS if row.in_paper] == ["T1", "T2", "T3", "T4", "T5", "T6"]


EVERYTHING = (*RUNS, *(run for runs in KNOBS.values() for run in runs))


def test_every_row_is_an_evaluation_of_its_run_and_adds_to_another_row():
    labels = [row.label for row in ROWS]
    assert len(set(labels)) == len(labels)
    stages = {run.name: run.stages for run in EVERYTHING}
    assert len(stages) == len(EVERYTHING)
    for row in ROWS:
        assert row.stage in stages[row.run]
        assert row.after is None or row.after in labels


def test_a_run_comes_after_what_it_begins_with():
    assert [run.name for run in needed(RUNS, "hierarchical-rl")] == ["cold-start", "hierarchical-rl"]
    assert [run.name for run in needed(RUNS, "text-rl")] == ["text-rl"]


@pytest.mark.parametrize("recipe", ["study", "study-hard"])
def test_every_run_has_a_valid_recipe_and_the_same_budget(recipe):
    recipes = {run.name: load_recipe(recipe, list(run.overrides)) for run in EVERYTHING}
    budgets = {one.rl.token_budget for one in recipes.values()}
    assert len(budgets) == 1
    assert None not in budgets
    assert recipes["text-rl"].rl.sampling.max_rounds == 0
    assert not recipes["episode-rl"].rl.step_level
    assert recipes["hierarchical-rl"].rl.step_level


def rows_of(knob):
    runs = {run.name for run in KNOBS[knob]}
    return [row.label for row in ROWS if row.run in runs]


def test_a_knob_has_runs_and_rows_of_both_levels():
    assert [run.name for run in KNOBS["suffix"]] == ["suffix-1", "suffix-2", "suffix-3"]
    assert rows_of("suffix")[:2] == ["K suffix_tokens=0", "K suffix_tokens=0, c"]
    assert load_recipe("study", list(KNOBS["suffix"][-1].overrides)).rl.suffix_tokens == 16


def test_rows_of_knobs_are_named_by_setting_and_value():
    assert rows_of("alpha")[2] == "K nll_weight=0.01"
    assert rows_of("staleness")[-1] == "K max_staleness=4, when=never, c"


def test_a_knob_of_inference_learns_nothing_again():
    assert {run.begins_with for run in KNOBS["attempts"]} == {"hierarchical-rl"}
    assert rows_of("attempts") == ["K attempts=1, c", "K attempts=8, c"]


def test_a_knob_changes_something():
    base = load_recipe("study")

    def differs(overrides: tuple[str, ...]) -> bool:
        changed: Recipe = load_recipe("study", list(overrides))
        return changed != base

    same = [run.overrides for runs in KNOBS.values() for run in runs if not differs(run.overrides)]
    assert same == [], "such a row would repeat T5"
