"""Going on with a run: after its last finished stage, or in the middle of one, from its learner's newest checkpoint."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from learners.group import LearnerGroup
from learners.rotation import CheckpointRotation, Resumption
from thor_ray.config import LearnerConfig
from thor_ray.progress import Progress
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.stages.plan import LEARNING
from thor_ray.stages.workers import Workers

DONE: Final = "done"
"""Name of the figure in a checkpoint's progress that says how many rounds, or batches, the stage had finished."""

_ROLLOUTS: Final = "rollouts-"


def latest_model(run: RunDirectory) -> tuple[Path, int] | None:
    """The model directory that the last finished stage left, if any has, and the version of its weights."""
    stages = run.state().stages
    finished = [stage for stage in LEARNING if stage in stages and stages[stage].finished]
    if not finished:
        return None
    return run.checkpoints / finished[-1], int(stages[finished[-1]].result["weight_version"])


class StageCheckpoints:
    """Checkpoints of one stage: taken after its rounds, gone on from when the run is resumed, removed at its end.

    What is in them and what the run directory's records say of the same rounds agree: a checkpoint is taken once its
    rounds are recorded, and what was recorded beyond it is superseded.
    """

    def __init__(self, run: RunDirectory, stage: Stage, config: LearnerConfig) -> None:
        self._rotation = CheckpointRotation(run.checkpoints / "learner" / stage, config.checkpoints_kept)
        self._every = config.checkpoint_every

    def newest(self) -> Resumption | None:
        """The newest whole checkpoint; ``None`` if none was ever completed.

        Raises:
            CheckpointError: there are some, and each is damaged.
        """
        return self._rotation.newest()

    def done(self, progress: Progress) -> int:
        """Rounds that need not be done again.

        Args:
            progress: Where to say that newer checkpoints are damaged.

        Raises:
            CheckpointError: there are checkpoints, and each is damaged.
        """
        newest = self._rotation.newest()
        if newest is None:
            return 0
        for reason in newest.refused:
            progress.say(f"passed over: {reason}")
        return newest.state.progress[DONE]

    def resume(self, workers: Workers) -> int:
        """Brings learners, in which the stage has begun, and engines to where the newest checkpoint was taken.

        Returns:
            Rounds that need not be done again: 0 if there is no checkpoint.

        Raises:
            CheckpointError: the checkpoint does not belong to this stage of this run.
            WeightMismatchError: an engine does not serve what was published.
        """
        newest = self._rotation.newest()
        if newest is None:
            return 0
        progress: Mapping[str, int] = workers.learners.load(newest.path)
        workers.publish_again()
        return progress[DONE]

    def rollouts(self, done: int) -> Path | None:
        """What ``take`` had saved of the rollouts after ``done`` rounds; ``None`` if there were none."""
        return self._rollouts(done) if done else None

    def take(
        self, learners: LearnerGroup, done: int, due: int, save_rollouts: Callable[[Path], None] | None = None
    ) -> None:
        """Takes a checkpoint if one is due, and removes older ones.

        Args:
            learners: Whose weights the engines serve.
            done: Rounds that are finished and recorded.
            due: Counts in the unit of ``learner.checkpoint_every``.
            save_rollouts: Writes what belongs to the same moment into the directory that it is given.
        """
        if not self._every or due % self._every:
            return
        if save_rollouts is not None:
            # Before the learner's, which is what makes the checkpoint complete.
            save_rollouts(self._rollouts(done))
        learners.save(self._rotation.path(done), {DONE: done})
        self._rotation.prune()
        kept = {self._rollouts(_step(path)) for path in self._rotation.complete()}
        for leftover in set(self._rotation.directory.glob(f"{_ROLLOUTS}*")) - kept:
            shutil.rmtree(leftover)

    def keep(self, learners: LearnerGroup, done: int, save_rollouts: Callable[[Path], None] | None = None) -> None:
        """Takes a checkpoint of what is finished, though none is due, unless there is one; see :meth:`take`.

        A recipe that wants no checkpoints gets none.
        """
        newest = self._rotation.newest()
        if done > (0 if newest is None else newest.state.progress[DONE]):
            self.take(learners, done, 0, save_rollouts)

    def clear(self) -> None:
        """Removes all of them: the stage is over, and has left a model directory."""
        self._rotation.clear()

    def _rollouts(self, done: int) -> Path:
        return self._rotation.directory / f"{_ROLLOUTS}{done:08d}"


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
