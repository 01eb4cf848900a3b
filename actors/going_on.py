"""How a group that may be interrupted goes on: what it has already, and who wants to hear of what happens in it."""

from collections.abc import Callable
from dataclasses import dataclass

from actors.codec import Codec
from actors.episode import Episode, EpisodeLimits
from actors.generation import Interruption
from thor_ray.trajectory import FinishReason, Group, Trajectory, TrajectoryBuilder

OnFailedStep = Callable[[Episode], None]
"""Called as soon as a program has failed, which is the last step of the episode then."""


@dataclass(frozen=True, slots=True)
class GoingOn:
    """The circumstances in which the siblings of one group are sampled; by default there is nothing to it.

    Attributes:
        partial: The group as it was suspended. Its finished siblings stay what they are, the others go on.
        interruption: Suspends the siblings that are not finished by then.
        on_failed_step: Hears of failed programs.
    """

    partial: Group | None = None
    interruption: Interruption | None = None
    on_failed_step: OnFailedStep | None = None

    def done(self, index: int) -> Trajectory | None:
        """Sibling ``index``, if it was finished before the group was suspended."""
        known = self.partial and self.partial.trajectories[index]
        return known if known and known.finish is not FinishReason.SUSPENDED else None

    def episode(self, index: int, new: TrajectoryBuilder, codec: Codec, limits: EpisodeLimits) -> Episode:
        """Sibling ``index`` where it was suspended, or from ``new`` on."""
        if self.partial is None:
            return Episode(new, codec, limits)
        return Episode.resume(self.partial.trajectories[index], codec, limits)


def is_suspended(group: Group) -> bool:
    """Whether some trajectory of a group has still to go on."""
    return any(trajectory.finish is FinishReason.SUSPENDED for trajectory in group.trajectories)
