"""Which run of a study may have the actors of the run before."""

from pathlib import Path
from typing import Any

import pytest

from thor_ray.config import Recipe
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.plan import Plan
from thor_ray.stages.problem_sets import ProblemSets
from thor_ray.stages.study import COMMAND, Serving
from thor_ray.stages.workers import Workers

JUDGES = (Stage.EVALUATE_RL_SELF_CORRECTION,)
LEARNT = Path("checkpoints/rl")


def suits(path: Path, recipe: Recipe, stages: tuple[Stage, ...] = JUDGES, model: Path = LEARNT) -> bool:
    actors = Serving(Workers(fleet=None, codec=None), Recipe(), LEARNT)  # type: ignore[arg-type]
    plan = Plan(recipe, stages, model, ProblemSets(train=(), heldout=(), too_long=0))
    with RunLog.create(path / "run", recipe, COMMAND) as log:
        return actors.suits(plan, log)


def changed(section: str, **fields: Any) -> Recipe:
    before = getattr(Recipe(), section)
    return Recipe().model_copy(update={section: before.model_copy(update=fields)})


def test_who_judges_the_same_weights_in_another_way_takes_them_over(tmp_path: Path) -> None:
    assert suits(tmp_path, changed("evaluation", samples_per_problem=4))


def test_a_path_to_the_policy_is_no_difference(tmp_path: Path) -> None:
    assert suits(tmp_path, changed("policy", model="elsewhere"))


def test_who_learns_starts_its_own(tmp_path: Path) -> None:
    assert not suits(tmp_path, Recipe(), stages=(Stage.RL, *JUDGES))


def test_other_weights_need_others(tmp_path: Path) -> None:
    assert not suits(tmp_path, Recipe(), model=Path("checkpoints/cold_start"))


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("sandbox", {"cpu_seconds": 1}),
        ("engine", {"max_sequences": 7}),
        ("policy", {"max_context": 1024}),
        ("placement", {"mode": "colocated"}),
    ],
)
def test_what_actors_are_started_with_must_be_the_same(tmp_path: Path, section: str, fields: dict[str, Any]) -> None:
    assert not suits(tmp_path, changed(section, **fields))


def test_another_seed_is_another_engine(tmp_path: Path) -> None:
    assert not suits(tmp_path, Recipe().model_copy(update={"seed": 1}))
