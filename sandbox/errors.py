"""What the sandbox raises. A program that fails never raises: it is a `Result`."""

from __future__ import annotations


class SandboxError(RuntimeError):
    """The sandbox is used in a way that cannot work: not open, closed, or opened in another process."""


class SandboxUnavailable(SandboxError):
    """The sandbox cannot start here as asked; the message names the reason and the remedy."""
