"""Rollouts without engines: what recipes are refused, how many steps are branched, what a checkpoint keeps."""

from pathlib import Path
from typing import Any, cast

import pytest

from learners.checkpoint import STATE_FILE, CheckpointError
from thor_ray.config import LearnerConfig, RecipeError, validate_recipe
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.stages.resumption import StageCheckpoints
from thor_ray.stages.rollouts import branching
from thor_ray.stages.rollouts_checkpoint import family_uid, restore_rollouts
from thor_ray.stream import StreamConfig


@pytest.mark.parametrize("option", [{"refill": True}, {"max_attempts": 5}, {"over_sample": 1.5}])
def test_options_of_the_stream_without_one_are_refused(option: dict[str, Any]):
    with pytest.raises(RecipeError, match=f"max_staleness: 0 leaves {next(iter(option))} without effect"):
        validate_recipe({"rl": {"stream": option}}, "test")
    assert validate_recipe({"rl": {"stream": {"max_staleness": 1, **option}}}, "test").rl.stream.max_staleness == 1


@pytest.mark.parametrize(("staleness", "factor"), [(1, 2.5), (2, 3.01)])
def test_no_more_is_begun_than_may_be_finished_later(staleness: int, factor: float):
    with pytest.raises(RecipeError, match=f"over_sample is {factor:g}, must be at most max_staleness . 1"):
        validate_recipe({"rl": {"stream": {"max_staleness": staleness, "over_sample": factor}}}, "test")
    with pytest.raises(RecipeError, match="over_sample"):
        validate_recipe({"rl": {"stream": {"max_staleness": staleness, "over_sample": 1}}}, "test")


def test_rounds_are_synchronous_unless_asked_for_otherwise():
    assert validate_recipe({}, "test").rl.stream.max_staleness == 0


@pytest.mark.parametrize(("steps", "problems", "share"), [(8, 16, 0.5), (16, 16, 1.0), (40, 16, 1.0), (0, 16, 0.0)])
def test_in_the_long_run_as_many_steps_are_branched_as_rounds_would(steps: int, problems: int, share: float):
    recipe = validate_recipe({"rl": {"step_groups_per_round": steps, "groups_per_round": problems}}, "test")
    found = branching(recipe)
    assert found is not None
    assert found.per_family == share


def test_without_the_step_level_nothing_is_branched():
    assert branching(validate_recipe({"rl": {"step_level": False}}, "test")) is None


def test_a_family_goes_by_the_uid_of_its_episode_group():
    assert {family_uid(uid) for uid in ("g000007", "g000007/s0", "g000007/s12")} == {"g000007"}


@pytest.mark.parametrize("content", [None, "{", '{"schema": 0}'])
def test_a_checkpoint_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "stream.json").write_text(content)
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        restore_rollouts(StreamConfig(2, 1, 3), tmp_path, lambda groups: {})


class Learner:
    """Writes what makes a checkpoint complete, or is killed before it could."""

    def save(self, path: Path, progress: dict[str, int]) -> None:
        path.mkdir(parents=True)
        (path / STATE_FILE).write_text("{}")


def test_rollouts_are_kept_as_long_as_the_checkpoint_beside_them(tmp_path: Path):
    checkpoints = StageCheckpoints(RunDirectory(tmp_path), Stage.RL, LearnerConfig(checkpoint_every=2))
    written: list[Path] = []

    def save(place: Path) -> None:
        place.mkdir(parents=True)
        written.append(place)

    for done in range(1, 9):
        checkpoints.take(cast("Any", Learner()), done, done, save)
    assert [path.name for path in written] == [f"rollouts-{done:08d}" for done in (2, 4, 6, 8)]
    assert [path.is_dir() for path in written] == [False, False, True, True]
    assert checkpoints.rollouts(8) == written[-1]
    assert checkpoints.rollouts(0) is None
