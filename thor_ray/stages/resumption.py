"""Going on in the middle of a stage that learns, from the newest whole checkpoint of its learner."""

from collections.abc import Mapping
from typing import Final

from learners.group import LearnerGroup
from learners.rotation import CheckpointRotation
from thor_ray.config import LearnerConfig
from thor_ray.progress import Progress
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.stages.workers import Workers

DONE: Final = "done"
"""Name of the figure in a checkpoint's progress that says how many rounds, or batches, the stage had finished."""


class StageCheckpoints:
    """Checkpoints of one stage: taken after its rounds, gone on from when the run is resumed, removed at its end.

    What is in them and what the run directory's records say of the same rounds agree: a checkpoint is taken once its
    rounds are recorded, and what was recorded beyond it is superseded.
    """

    def __init__(self, run: RunDirectory, stage: Stage, config: LearnerConfig) -> None:
        self._rotation = CheckpointRotation(run.checkpoints / "learner" / stage, config.checkpoints_kept)
        self._every = config.checkpoint_every

    def done(self, progress: Progress | None = None) -> int:
        """Rounds that need not be done again.

        Args:
            progress: Where to say that newer checkpoints are damaged.

        Raises:
            CheckpointError: there are checkpoints, and each is damaged.
        """
        newest = self._rotation.newest()
        if newest is None:
            return 0
        if progress is not None:
            for reason in newest.refused:
                progress.console.print(f"[yellow]passed over:[/] {reason}", highlight=False)
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
        workers.learners.publish_again(workers.fleet.actors)
        return progress[DONE]

    def take(self, learners: LearnerGroup, done: int, due: int) -> None:
        """Takes a checkpoint if one is due, and removes older ones.

        Args:
            learners: Whose weights the engines serve.
            done: Rounds that are finished and recorded.
            due: Counts in the unit of ``learner.checkpoint_every``.
        """
        if self._every and due % self._every == 0:
            learners.save(self._rotation.path(done), {DONE: done})
            self._rotation.prune()

    def clear(self) -> None:
        """Removes all of them: the stage is over, and has left a model directory."""
        self._rotation.clear()
