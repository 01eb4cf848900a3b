"""A seed of a study on real actors: what one run has learnt is judged by the next, with the actors that are there."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.small_loop import small_recipe
from thor_ray.config import Recipe
from thor_ray.progress import Progress
from thor_ray.records import Stage, read_records
from thor_ray.run_directory import RunDirectory
from thor_ray.stages import pipeline
from thor_ray.stages.study import SeedPlan, run_seed
from thor_ray.stages.workers import started_workers
from thor_ray.study.design import StudyRun

pytestmark = pytest.mark.slow

LEARNS = StudyRun("learns", (Stage.TIRGEN, Stage.COLD_START))
JUDGES = StudyRun("judges", (Stage.EVALUATE_COLD_START_SELF_CORRECTION,), LEARNS.name)


@pytest.fixture
def recipe(tiny_policies: Any) -> Recipe:
    small = small_recipe(tiny_policies.taught)
    return small.model_copy(
        update={
            "tirgen": small.tirgen.model_copy(update={"problems": 16, "attempts": 0}),
            "cold_start": small.cold_start.model_copy(
                update={
                    "batch_size": 4,
                    "evaluate_every": 0,
                    "optimizer": small.cold_start.optimizer.model_copy(update={"learning_rate": 1e-3}),
                }
            ),
            "evaluation": small.evaluation.model_copy(update={"samples_per_problem": 3}),
        }
    )


@pytest.fixture
def begun_with(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The policies that actors are started on, in order."""
    seen: list[Path] = []

    def watched(recipe: Recipe, model: Path, **options: Any) -> Any:
        seen.append(model)
        return started_workers(recipe, model, **options)

    monkeypatch.setattr(pipeline, "started_workers", watched)
    return seen


def sampled(path: Path) -> dict[str, tuple[Sequence[int], tuple[float, ...]]]:
    """Tokens and their log-probs of everything that the judging run sampled, by trajectory."""
    run = RunDirectory(path)
    rows = list(read_records(run.record_files(Stage.EVALUATE_COLD_START_SELF_CORRECTION)))
    return {one.trajectory.id: (one.trajectory.ids, tuple(one.trajectory.log_probs)) for one in rows}


def test_actors_that_are_taken_over_sample_what_actors_of_their_own_would(
    ray_cluster: Any, recipe: Recipe, begun_with: list[Path], tmp_path: Path
) -> None:
    both = SeedPlan(tmp_path, 0, {LEARNS: recipe, JUDGES: recipe})
    with Progress(Console(file=io.StringIO())) as progress:
        run_seed(both, progress)
        assert len(begun_with) == 1
        at_once = sampled(both.path(JUDGES.name))
        assert len(at_once) == 3 * recipe.problems.heldout.count

        again = replace(JUDGES, name="again")
        run_seed(SeedPlan(tmp_path, 0, {LEARNS: recipe, again: recipe}), progress)
        assert begun_with[1:] == [both.path(LEARNS.name) / "checkpoints" / "cold_start"]
        assert sampled(both.path(again.name)) == at_once

        run_seed(both, progress)
        assert len(begun_with) == 2, "everything was finished, and still actors were started"
