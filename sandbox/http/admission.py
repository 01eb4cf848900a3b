"""How much is in the house at a time. Pure: no clock, no socket.

A queue without a bound turns overload into timeouts of everybody and, with large requests, into a full memory. So a request
is counted before its body is read, and one too many is told to come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sandbox.http.access import Refusal
from sandbox.limits import MIB

RETRY_AFTER_SECONDS = 1


@dataclass(slots=True)
class Admission:
    """Counts requests from their headers to their reply, and the bytes of their bodies.

    Invariant: 0 <= requests <= max_requests and 0 <= held_bytes <= max_bytes.

    Attributes:
        max_requests: running or waiting.
        max_body_bytes: of one request.
        max_bytes: of all bodies together.
        requests: in the house now.
        held_bytes: of their bodies.

    Raises:
        ValueError: a bound is not positive.
    """

    max_requests: int = 1000
    max_body_bytes: int = 32 * MIB
    max_bytes: int = 256 * MIB
    requests: int = field(default=0, init=False)
    held_bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("max_requests", "max_body_bytes", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be at least 1")

    def admit(self, body_bytes: int | None) -> Refusal | None:
        """Counts a request in and returns None, or says why it stays outside.

        Args:
            body_bytes: what the client announces; None if it announces nothing.
        """
        if body_bytes is None:
            return Refusal(411, "the request needs a Content-Length")
        if body_bytes > self.max_body_bytes:
            return Refusal(413, f"the request has {body_bytes} bytes, the limit is {self.max_body_bytes}")
        if self.requests >= self.max_requests or self.held_bytes + body_bytes > self.max_bytes:
            return Refusal(
                429,
                f"{self.requests} requests are running or waiting, which is what this server takes; try again later",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        self.requests += 1
        self.held_bytes += body_bytes
        return None

    def release(self, body_bytes: int) -> None:
        """Counts a request out."""
        self.requests -= 1
        self.held_bytes -= body_bytes

    @property
    def saturation(self) -> float:
        """How full it is, from 0 to 1."""
        return max(self.requests / self.max_requests, self.held_bytes / self.max_bytes)
