"""Trajectories: what they are (`model`, `tokens`), and how they are made (`builder`)."""

from thor_ray.trajectory.builder import TrajectoryBuilder
from thor_ray.trajectory.model import (
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
from thor_ray.trajectory.tokens import NO_VERSION, PackedTokens, Tokens, TokenSource

__all__ = [
    "NO_VERSION",
    "Cost",
    "DiscardedAttempt",
    "ExecutionResult",
    "ExecutionStatus",
    "FinishReason",
    "Group",
    "GroupKind",
    "PackedTokens",
    "Parent",
    "Span",
    "SpanKind",
    "Step",
    "TokenSource",
    "Tokens",
    "Trajectory",
    "TrajectoryBuilder",
    "backtrack_cut",
]
