"""Trajectories: what they are (`model`), and how they are made (`builder`)."""

from thor_ray.trajectory.builder import TrajectoryBuilder
from thor_ray.trajectory.model import (
    NO_VERSION,
    Cost,
    DiscardedAttempt,
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    Parent,
    Span,
    SpanKind,
    Step,
    Trajectory,
    backtrack_cut,
)

__all__ = [
    "NO_VERSION",
    "Cost",
    "DiscardedAttempt",
    "ExecutionResult",
    "ExecutionStatus",
    "FinishReason",
    "Group",
    "GroupKind",
    "Parent",
    "Span",
    "SpanKind",
    "Step",
    "Trajectory",
    "TrajectoryBuilder",
    "backtrack_cut",
]
