"""What an evaluation asks, how often, and how it judges: from recipe and registry, before anything is started."""

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from actors.scorers import AnswerScorer
from thor_ray.config import Recipe, RecipeError, RepairStrategy, validate_recipe
from thor_ray.errors import UserError
from thor_ray.evaluation.samples import SampleKey
from thor_ray.grading import EXACT, GradingPolicy
from thor_ray.stages.evaluate import sample_calls, sample_seed
from thor_ray.stages.evaluation_plan import make_evaluation_plan, weights_digest
from thor_ray.tiny import base_model_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files of three benchmarks, of the right sizes."""
    for name, size in (("aime2024", 30), ("minerva_math", 272), ("gsm8k", 1319)):
        rows = [{"id": f"{name}-{n}", "problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(size)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def recipe(data_dir: Path | None = None, **evaluation: Any) -> Recipe:
    problems = {"heldout": {"count": 5}, "data_dir": None if data_dir is None else str(data_dir)}
    return validate_recipe({"problems": problems, "evaluation": evaluation}, "test")


def test_benchmarks_bring_their_own_samples_and_policy(data):
    plan = make_evaluation_plan(recipe(data, benchmarks=["aime24", "minerva", "gsm8k"]))
    assert [(one.name, len(one.problems), one.samples) for one in plan.sets] == [
        ("aime2024", 30, 4), ("minerva_math", 272, 4), ("gsm8k", 1319, 1),
    ]  # fmt: skip
    assert plan.size == len(list(plan.samples())) == 30 * 4 + 272 * 4 + 1319
    scorers = [one.scorer(one.problems[6]) for one in plan.sets]
    tolerant = GradingPolicy(Fraction(1, 100))
    assert scorers == [AnswerScorer("7", EXACT), AnswerScorer("7", tolerant), AnswerScorer("7", EXACT)]


def test_a_number_of_samples_that_is_asked_for_holds_for_all(data):
    plan = make_evaluation_plan(recipe(data, benchmarks=["aime2024", "gsm8k"], samples_per_problem=2))
    assert [one.samples for one in plan.sets] == [2, 2]


def test_without_benchmarks_the_held_out_problems_are_asked():
    [one] = make_evaluation_plan(recipe()).sets
    assert (one.name, len(one.problems), one.samples) == ("held-out", 5, 4)


def test_what_is_sampled_has_a_key_a_seed_and_a_name_of_its_own():
    plan = make_evaluation_plan(recipe(strategies=[None, "action_only"]))
    calls = list(sample_calls(plan, set()))
    assert len({call.key for call in calls}) == len(calls) == plan.size == 5 * 4 * 2
    assert len({call.arguments["seed"] for call in calls}) == len(calls)
    assert len({call.arguments["trajectory_id"] for call in calls}) == len(calls)
    for call in calls:
        assert call.arguments["seed"] == sample_seed(plan.recipe.seed, call.key)
        correction = call.arguments["settings"].correction
        assert (correction and correction.strategy) == call.key.strategy
    done = {call.key for call in calls[::3]}
    assert [call.key for call in sample_calls(plan, done)] == [call.key for call in calls if call.key not in done]


def test_what_decides_the_figures_is_told(data, tmp_path):
    def settings(model: Path | None = None, **evaluation: Any) -> dict[str, str]:
        given = recipe(data, **evaluation)
        if model is not None:
            policy = given.policy.model_copy(update={"model": str(model)})
            given = given.model_copy(update={"policy": policy})
        return make_evaluation_plan(given).about(tmp_path / "run").settings

    told = settings(benchmarks=["minerva_math"], strategies=[None, "step_suffix"])
    assert told["problems of minerva_math"].startswith("272 problems × 4; numbers within 1 %; SHA-256 ")
    assert told["self-correction"] == "none, step_suffix"
    other = Path(shutil.copytree(base_model_path(), tmp_path / "model"))
    assert weights_digest(other) == weights_digest(base_model_path())
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    changed = settings(other, benchmarks=["minerva_math"], strategies=[None, "step_suffix"])
    assert {name for name in told if told[name] != changed[name]} == {"model", "weights"}


def test_problems_that_differ_in_one_letter_are_other_problems(data):
    before = make_evaluation_plan(recipe(data, benchmarks=["aime2024"])).sets[0].description()
    file = data / "aime2024.jsonl"
    file.write_text(file.read_text().replace("What is 17 + 1", "What is 17 + l"))
    assert make_evaluation_plan(recipe(data, benchmarks=["aime2024"])).sets[0].description() != before


def test_keys_sort_samples_of_one_problem_together():
    keys = [key for key, _, _ in make_evaluation_plan(recipe(strategies=["full_replan"])).samples()]
    assert keys[:5] == [
        *(SampleKey("held-out", RepairStrategy.FULL_REPLAN, keys[0].problem_id, index) for index in range(4)),
        SampleKey("held-out", RepairStrategy.FULL_REPLAN, keys[4].problem_id, 0),
    ]


def test_nothing_is_named_twice_and_unknown_names_are_refused(data):
    with pytest.raises(UserError, match="there is no benchmark 'aime1066'"):
        make_evaluation_plan(recipe(data, benchmarks=["aime1066"]))
    with pytest.raises(UserError, match="one benchmark is named twice: aime24, aime2024"):
        make_evaluation_plan(recipe(data, benchmarks=["aime24", "aime2024"]))
    with pytest.raises(RecipeError, match="strategies names one of its values twice"):
        recipe(strategies=[None, None])
