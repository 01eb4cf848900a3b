"""Plans of evaluations that ask for programs."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from actors.program_scorer import ProgramScorer
from tests.support.code_problems import livecodebench_row
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.problems import registry
from thor_ray.stages.evaluation_plan import make_evaluation_plan


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a LiveCodeBench of two problems."""
    rows = [livecodebench_row("stdin"), livecodebench_row("functional")]
    (tmp_path / "test6.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = tuple(replace(each, size=2) if each.name == "livecodebench" else each for each in registry.BENCHMARKS)
    monkeypatch.setattr(registry, "BENCHMARKS", small)
    return tmp_path


def recipe(data: Path, **sampling: int) -> Recipe:
    given = {
        "policy": {"max_context": 2048},
        "problems": {"data_dir": data},
        "evaluation": {"benchmarks": ["lcb"], "sampling": {"max_new_tokens": 64} | sampling},
    }
    return Recipe.model_validate(given)


def test_programs_are_judged_by_their_problems_tests(data: Path) -> None:
    (asked,) = make_evaluation_plan(recipe(data)).sets
    assert (asked.name, asked.samples) == ("livecodebench", 1)
    assert [problem.id for problem in asked.problems] == ["sums_stdin", "sums_functional"]
    for problem in asked.problems:
        scorer = asked.scorer(problem)
        assert isinstance(scorer, ProgramScorer)
        assert scorer.problem.id == problem.id
        assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert "by tests" in asked.description()


def test_a_policy_that_may_run_nothing_cannot_write_programs(data: Path) -> None:
    with pytest.raises(UserError, match="max_rounds is 0"):
        make_evaluation_plan(recipe(data, max_rounds=0))
