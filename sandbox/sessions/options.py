"""How a session behaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.request import Request


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session behaves; `Sandbox.session` says what the fields mean.

    Raises:
        TypeError, ValueError: a field is wrong.
    """

    seed: int | None = None
    on_error: str = "rollback"
    timeout: float | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    max_replayed_steps: int = 64
    max_replay_seconds: float = 10.0
    open_timeout: float = 60.0

    def __post_init__(self) -> None:
        Request("", self.timeout, self.seed, self.files)  # checks them
        if self.on_error not in ("rollback", "keep"):
            raise ValueError(f"on_error is {self.on_error!r}; it must be 'rollback' or 'keep'")
        if self.max_replayed_steps < 0:
            raise ValueError(f"max_replayed_steps is {self.max_replayed_steps!r}; it must be at least 0")
        for name in ("max_replay_seconds", "open_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be a positive number of seconds")
