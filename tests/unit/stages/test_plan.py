"""A plan is made of whole inputs or not at all, and says in figures what is going to happen."""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.runs import trajectory
from thor_ray.config import Recipe, validate_recipe
from thor_ray.dialogue import PromptFrame, prompt_frame
from thor_ray.errors import PreflightError, UserError
from thor_ray.problems import ProblemFileError
from thor_ray.prompt_record import record_prompt
from thor_ray.records import Stage, write_groups
from thor_ray.stages.plan import QUICK, SFT, SMOKE, TRAIN, make_plan, policy_directory, print_plan
from thor_ray.stages.plan import TIRGEN as TIRGEN_ONLY
from thor_ray.tiny import base_model_path
from thor_ray.trajectory import Group, GroupKind

FEW = {"train": {"count": 6}, "heldout": {"count": 5}}


def recipe(**sections: Any) -> Recipe:
    return validate_recipe({"problems": FEW, **sections}, "test")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the shipped base that a test may damage."""
    return Path(shutil.copytree(base_model_path(), tmp_path / "model"))


def printed(plan_recipe: Recipe, stages: tuple[Stage, ...]) -> dict[str, str]:
    """The printed plan, line by line: name and value."""
    screen = io.StringIO()
    print_plan(make_plan(plan_recipe, stages), Console(file=screen, width=400))
    rows = (line.partition("  ") for line in screen.getvalue().splitlines())
    return {name: value.strip() for name, _, value in rows}


def test_a_plan_holds_what_was_read():
    plan = make_plan(recipe(), SMOKE)
    assert plan.stages == SMOKE
    assert plan.model == base_model_path()
    assert (len(plan.problems.train), len(plan.problems.heldout)) == (6, 5)


@pytest.mark.parametrize("stages", [TRAIN, SMOKE, TIRGEN_ONLY])
def test_demonstrations_that_nobody_would_learn_from_are_refused(stages, tmp_path):
    given = recipe(cold_start={"demonstrations": str(tmp_path / "some.parquet")})
    with pytest.raises(UserError, match=r"cold_start\.demonstrations would do nothing here"):
        make_plan(given, stages)


def test_attention_heads_must_be_dealt_to_the_ranks_that_share_sequences():
    learner = {"ranks": 3, "sequence_parallel": 3}
    with pytest.raises(UserError, match=r"4 attention heads over 2 key-value heads.*\nchoose one of 1, 2, 4"):
        make_plan(recipe(learner=learner), TRAIN)


def test_learning_from_demonstrations_needs_some(tmp_path):
    with pytest.raises(UserError, match=r"there are no demonstrations to learn from\nset cold_start\.demonstrations"):
        make_plan(recipe(), SFT)
    missing = tmp_path / "missing.parquet"
    with pytest.raises(PreflightError, match=f"there is no demonstrations {missing}"):
        make_plan(recipe(cold_start={"demonstrations": str(missing)}), SFT)


def test_recorded_demonstrations_are_accepted(tmp_path):
    path = tmp_path / "demonstrations.parquet"
    write_groups(path, [Group("g", GroupKind.EPISODE, "p", (trajectory("t"),))], Stage.TIRGEN, 0)
    assert make_plan(recipe(cold_start={"demonstrations": str(path)}), SFT).stages == SFT


def test_a_file_that_holds_no_demonstrations_is_refused(tmp_path):
    path = tmp_path / "demonstrations.parquet"
    path.write_text("these are words")
    with pytest.raises(UserError, match=f"{path} is not a Parquet file"):
        make_plan(recipe(cold_start={"demonstrations": str(path)}), SFT)
    write_groups(path, [], Stage.TIRGEN, 0)
    with pytest.raises(UserError, match=f"{path} holds no demonstrations"):
        make_plan(recipe(cold_start={"demonstrations": str(path)}), SFT)


def test_a_missing_model_is_named(tmp_path):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(PreflightError, match=f"there is no model directory {nowhere}"):
        policy_directory(recipe(policy={"model": str(nowhere)}))


def test_everything_that_is_wrong_with_a_model_is_told_at_once(model):
    (model / "config.json").write_text("{")
    (model / "tokenizer.json").unlink()
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(PreflightError) as refused:
        make_plan(recipe(policy={"model": str(model)}), TRAIN)
    told = str(refused.value)
    assert "3 things are in the way" in told
    assert "config.json cannot be read" in told
    assert "has no fast tokenizer (tokenizer.json)" in told
    assert "model.safetensors is torn" in told


def test_a_whole_model_directory_is_used(model):
    assert make_plan(recipe(policy={"model": str(model)}), TRAIN).model == model


def test_a_policy_is_asked_as_it_was_trained(model):
    bare, tir = recipe(policy={"model": str(model)}), recipe(policy={"model": str(model), "template": "tir"})
    assert policy_directory(tir) == model, "a policy that remembers no prompts takes any"
    record_prompt(model, "bare", prompt_frame("bare"))
    assert policy_directory(bare) == model
    with pytest.raises(PreflightError, match="trained with template 'bare', not 'tir'") as refusal:
        make_plan(tir, TRAIN)
    assert "set policy.template to bare" in refusal.value.remedy


def test_a_template_that_was_reworded_since_training_is_refused(model):
    record_prompt(model, "bare", PromptFrame("Problem: ", "\n"))
    with pytest.raises(PreflightError, match=r"another wording of template 'bare': 'Problem: \{question\}"):
        policy_directory(recipe(policy={"model": str(model)}))
    (model / "thor_prompt.json").write_text("{}")
    with pytest.raises(PreflightError, match=r"thor_prompt\.json cannot be read"):
        policy_directory(recipe(policy={"model": str(model)}))


def test_a_chat_template_that_the_model_does_not_have_is_refused():
    with pytest.raises(
        UserError, match=r"policy\.template chat cannot be used: the policy's tokenizer has no chat template"
    ):
        make_plan(recipe(policy={"template": "chat"}), TRAIN)


def test_the_printed_plan_tells_what_decontamination_left_out(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"problem": text, "answer": 2}) + "\n" for text in ("one", "two")))
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"problem": "Two?", "answer": 2}))
    problems = {
        "train": {"file": str(path)},
        "heldout": {"count": 2},
        "decontamination": {"against": [str(test)]},
    }
    rows = printed(recipe(problems=problems), TRAIN)
    assert rows["problems"] == "1 train, 2 held out"
    assert rows["contaminated"].startswith("1 training problems left out, found in ")


def with_training_file(path: Path) -> Recipe:
    return recipe(problems={"train": {"file": str(path)}, "heldout": {"count": 2}})


def test_a_missing_problem_file_is_named(tmp_path):
    with pytest.raises(ProblemFileError, match=r"none\.jsonl: no such problem file"):
        make_plan(with_training_file(tmp_path / "none.jsonl"), TRAIN)


@pytest.mark.parametrize(
    ("line", "fault"),
    [("{", "not JSON"), ('{"problem": "2 + 2?"}', "answer"), ('["problem", "answer"]', "object")],
)
def test_a_line_that_is_no_problem_is_named(tmp_path, line, fault):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps({"problem": "1 + 1?", "answer": 2}) + f"\n{line}\n")
    with pytest.raises(ProblemFileError, match=rf"problems\.jsonl:2: .*{fault}"):
        make_plan(with_training_file(path), TRAIN)


SMALL_RL: Mapping[str, Any] = {
    "rounds": 5,
    "groups_per_round": 3,
    "group_size": 4,
    "updates_per_round": 2,
    "step_groups_per_round": 2,
    "step_group_size": 6,
}


def test_the_printed_plan_multiplies_out_what_is_sampled_and_learnt():
    rows = printed(recipe(rl=SMALL_RL, evaluation={"samples_per_problem": 3}), SMOKE)
    assert rows["stages"] == (
        "evaluate base → tirgen → cold start → evaluate cold start → rl → evaluate rl → evaluate rl self correction"
    )
    assert rows["problems"] == "6 train, 5 held out"
    assert rows["RL round"] == "3 problems × 4 episodes + up to 2 × 6 steps, 2 updates"
    assert rows["RL in all"] == "5 rounds, 60 episodes, 10 updates at the most"
    assert rows["evaluation"] == "4 × 5 problems × 3 samples"
    assert rows["cold start"] == "1 epochs, 256 sequences per update"
    assert rows["actors"].startswith("1 × engine (TP 1), 1 × learner (ZeRO 2")
    assert "left out" not in rows


def test_the_printed_plan_tells_only_what_the_stages_do():
    rows = printed(recipe(), TIRGEN_ONLY)
    assert set(rows) == {"stages", "policy", "problems", "actors", "memory of an engine"}
    assert rows["actors"] == "1 × engine (TP 1)"
    assert "steps" not in printed(recipe(rl={**SMALL_RL, "step_level": False}), TRAIN)["RL round"]


def test_the_printed_plan_counts_problems_that_do_not_fit(tmp_path):
    path = tmp_path / "problems.jsonl"
    questions = ["What is 1 + 1?", "one two " * 400]
    path.write_text("".join(json.dumps({"problem": question, "answer": 2}) + "\n" for question in questions))
    rows = printed(with_training_file(path), TRAIN)
    assert rows["problems"] == "1 train, 2 held out"
    assert rows["left out"] == "1 problems, too long for the context"


def test_the_printed_plan_shows_names_as_they_are(tmp_path):
    """A directory's name is not a style."""
    odd = Path(shutil.copytree(base_model_path(), tmp_path / "[red]model[/red]"))
    assert printed(recipe(policy={"model": str(odd)}), TRAIN)["policy"].startswith(f"{odd}, float32")


def test_the_short_smoke_is_smaller_in_every_figure():
    from thor_ray.config import load_recipe

    whole, quick = load_recipe("smoke"), load_recipe("smoke", list(QUICK))
    for setting in QUICK:
        section, *rest = setting.split("=")[0].split(".")
        large: Any = getattr(whole, section)
        small: Any = getattr(quick, section)
        for field in rest:
            large, small = getattr(large, field), getattr(small, field)
        assert small < (whole.evaluation.samples() if large is None else large), setting
