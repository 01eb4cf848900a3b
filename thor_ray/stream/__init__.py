"""Groups of trajectories between engines and learner: admission, staleness, exactly once, resume (docs/stream.md).

Pure: no cluster, no clock, no I/O. `TrajectoryStream` says what may be sampled and trained, `EngineScheduler` where, and
`RolloutCoordinator` ties them together for whatever drives real or simulated engines.
"""

from thor_ray.stream.admission import StreamConfig
from thor_ray.stream.checkpoint import restore_stream, stream_state
from thor_ray.stream.concurrency import MOST_GROUPS, ConcurrencyRule, EnginePressure
from thor_ray.stream.coordinator import AbortOrder, RolloutCoordinator, StartOrder
from thor_ray.stream.cursor import ProblemCursor
from thor_ray.stream.groups import (
    DroppedGroup,
    DropReason,
    GroupState,
    Part,
    ReadyGroup,
    Ticket,
    VersionCounts,
    version_counts,
)
from thor_ray.stream.scheduler import EngineScheduler
from thor_ray.stream.stream import StreamError, StreamStarvedError, TrajectoryStream, drop_counts

__all__ = [
    "MOST_GROUPS",
    "AbortOrder",
    "ConcurrencyRule",
    "DropReason",
    "DroppedGroup",
    "EnginePressure",
    "EngineScheduler",
    "GroupState",
    "Part",
    "ProblemCursor",
    "ReadyGroup",
    "RolloutCoordinator",
    "StartOrder",
    "StreamConfig",
    "StreamError",
    "StreamStarvedError",
    "Ticket",
    "TrajectoryStream",
    "VersionCounts",
    "drop_counts",
    "restore_stream",
    "stream_state",
    "version_counts",
]
