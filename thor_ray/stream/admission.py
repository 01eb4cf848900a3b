"""How many groups may be under way, and which are too old to train (invariant 7; AReaL, arXiv 2505.24298).

Versions count publications of weights, and the learner consumes ``groups_per_update`` groups between two of them. AReaL
admits a group while ``accepted + running <= (max_staleness + version + 1) * groups_per_update``. As ``version *
groups_per_update`` of the accepted ones have been consumed, this says of those that have not been:

    in flight = waiting + running + ready + taken  <=  (max_staleness + 1) * groups_per_update

where a group counts as taken until the weights that it has changed are published. The second form is the one used. It needs no correction after a resume, or after an update that was skipped, where the
first would admit a burst or nothing at all.
"""

import math
from dataclasses import dataclass

from thor_ray.errors import UserError


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What bounds a stream.

    Attributes:
        groups_per_update: Groups that the learner takes for each version of the weights, at least 1.
        max_staleness: How many versions the oldest token of a group may lie behind the weights that it trains. 0 is
            synchronous training: everything is sampled by the very weights that it updates.
        updates: After how many takes the stream ends, so that nothing is sampled that could not be taken.
        over_sample: For engines that must be empty while the learner trains: this many times ``groups_per_update`` are
            admitted for an update, and ``TrajectoryStream.tail`` names those to suspend as soon as it has enough.
            ``None`` lets all of the staleness window run on, through updates of the weights.
        max_attempts: How many engines a group may be lost with before it is dropped.
        starved_after: After how many groups dropped in a row ``TrajectoryStream.take`` raises ``StreamStarvedError``.

    Raises:
        UserError: a value is out of bounds, or would do nothing (invariant 13).
    """

    groups_per_update: int
    max_staleness: int
    updates: int
    over_sample: float | None = None
    max_attempts: int = 3
    starved_after: int = 1000

    def __post_init__(self) -> None:
        for name, least in (
            ("groups_per_update", 1),
            ("max_staleness", 0),
            ("updates", 0),
            ("max_attempts", 1),
            ("starved_after", 1),
        ):
            if getattr(self, name) < least:
                raise UserError(f"stream.{name} is {getattr(self, name)}, must be at least {least}")
        window = self.max_staleness + 1
        if self.over_sample is not None and not 1 < self.over_sample <= window:
            raise UserError(
                f"stream.over_sample is {self.over_sample:g}, must be above 1 and at most max_staleness + 1 = {window}",
                "raise max_staleness, since suspended groups keep tokens of older weights, or remove over_sample",
            )

    @property
    def window(self) -> int:
        """The most groups that may be in flight, those that are being trained included."""
        return (self.max_staleness + 1) * self.groups_per_update

    def room(self, untaken: int, held: int, takes_left: int) -> int:
        """How many groups may be admitted now, at least 0.

        Args:
            untaken: Groups that are admitted and not yet taken: waiting, running or ready.
            held: Groups that the learner has, or has learnt from without having published weights since.
            takes_left: How often groups will be taken yet.
        """
        limit = min(self.window - held, takes_left * self.groups_per_update)
        if self.over_sample is not None:
            limit = min(limit, math.ceil(self.over_sample * self.groups_per_update))
        return max(0, limit - untaken)

    def too_old(self, oldest_version: int, version: int) -> bool:
        """Whether a group with a token of ``oldest_version`` may no longer update the weights of ``version``."""
        return version - oldest_version > self.max_staleness
