"""Runs untrusted Python: warm, one confined process per program, with hard limits.

    from sandbox import Sandbox

    with Sandbox() as sandbox:
        result = sandbox.run("print(6 * 7)", timeout=5, seed=0)
        assert result.ok and result.stdout == "42\\n"

Four parties, from trusted to not: the *supervisor*, a thread of the caller's process, which holds programs, outputs and
deadlines; *zygotes*, exec'ed with a clean environment and the libraries loaded; and one forked *child* per program, which
locks itself down before the program's first statement.

What this does not stop: kernel bugs, side channels, a program that forges its own report (so compare outputs with answers
that the sandbox never sees), and at level 0 (see `Level`) next to nothing.
"""

from sandbox.api import Sandbox
from sandbox.errors import SandboxError, SandboxUnavailable
from sandbox.limits import Limits
from sandbox.request import Request
from sandbox.result import Isolation, Level, Result, SessionState, Status
from sandbox.sessions.session import AsyncSession, Session

__all__ = [
    "AsyncSession",
    "Isolation",
    "Level",
    "Limits",
    "Request",
    "Result",
    "Sandbox",
    "SandboxError",
    "SandboxUnavailable",
    "Session",
    "SessionState",
    "Status",
]
