"""Sessions: programs that run one after the other in one namespace."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sandbox.result import Result
from sandbox.sessions.conversation import Conversation
from sandbox.sessions.waiting import arun_flow, run_flow


class AsyncSession:
    """A session for asyncio; `async with sandbox.session() as session` gives one. Its methods never block the event loop."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    async def step(
        self,
        code: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the program, not the await
        fetch: Sequence[str] = (),
    ) -> Result:
        """`Session.step` for asyncio. Cancelling the await kills the step's process; see `Session` for what that leaves.

        Raises:
            TypeError, ValueError: bad arguments.
            SandboxError: the session or the sandbox is not open, or another step of this session runs.
        """
        return await arun_flow(self._conversation.step(code, timeout, fetch))

    async def reset(self) -> None:
        """`Session.reset` for asyncio.

        Raises:
            SandboxError: the session or the sandbox is not open, or a step runs.
        """
        self._conversation.reset()

    def close(self) -> None:
        """`Session.close`; it does not wait for anything."""
        self._conversation.close()


class Session:
    """One process that runs programs one after the other, in one namespace and one directory. Made by `Sandbox.session`.

        with sandbox.session() as session:
            session.step("x = 6")
            result = session.step("print(7 * x)")

    A step is any program: it can use what earlier steps have defined, and its tracebacks name it `<step 3>`. Random numbers
    start from the session's seed once, and a step goes on where the last one stopped, so that the whole session repeats.
    Between steps the process stands still. The memory limit holds for the session, those of output and time for each step.

    What a step leaves for the next one is in `Result.state`. With `on_error="rollback"` a step that ends with any status
    but `ok` leaves nothing: the state before it is rebuilt, by running the accepted steps again in a fresh process with the
    same seed and without their output, and the next step has the failed one's number. That happens when the next step is
    asked for, in the time that its `queue_ms` tells. If an accepted step ends otherwise than before, or the replay takes too
    long, the next step does not run. It gets the status of what went wrong in the replay, with the `exc_type`
    `StateNotRebuilt` and the state `lost`, and the one after it begins anew. That is never a `sandbox_error`: a program can
    bring it about on purpose, and must not have itself excused.

    With `on_error="keep"` a step that fails leaves what it did up to then, as in a notebook; a timeout interrupts it (SIGINT),
    and only a step that has not ended 0.2 s later is killed. What ends the process itself (`os._exit`, a crash, too much
    memory, a kill) loses the state: the next step finds an empty namespace. `sys.exit` ends the step only.

    Interrupting `step` (Ctrl-C) or cancelling its await kills the process: the state is rebuilt or lost, as after a crash. A
    process that dies between two steps makes the second one fail. A lost worker costs a second attempt where the state can
    be rebuilt, and is a `sandbox_error` otherwise.

    Steps may be asked for from any thread, but one at a time; `close` may be called from any thread at any time.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        weakref.finalize(conversation, conversation.lease.end)

    def step(self, code: str, *, timeout: float | None = None, fetch: Sequence[str] = ()) -> Result:
        """Runs a program in the session's namespace and waits for it.

        Args:
            code: Python source.
            timeout: wall-clock seconds, at most 60; None takes the session's.
            fetch: names of files to bring back from the session's directory, if its process lives on; see `Result.files`.

        Raises:
            TypeError, ValueError: bad arguments.
            SandboxError: the session or the sandbox is not open, or another step of this session runs.
        """
        return run_flow(self._conversation.step(code, timeout, fetch))

    def reset(self) -> None:
        """Begins anew: an empty namespace, nothing but the session's files in its directory, the same seed.

        Raises:
            SandboxError: the session or the sandbox is not open, or a step runs.
        """
        self._conversation.reset()

    def close(self) -> None:
        """Ends the process. A step that another thread waits for is `cancelled`. Harmless when repeated."""
        self._conversation.close()

    def __enter__(self) -> Self:
        run_flow(self._conversation.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> AsyncSession:
        await arun_flow(self._conversation.open())
        return AsyncSession(self._conversation)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
