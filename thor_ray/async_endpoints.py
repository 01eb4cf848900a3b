"""Asking a model server from coroutines, many requests at a time: bounded in time, size and tries; every end has a name.

What goes wrong is one of the errors of ``thor_ray.endpoints``. A server that is busy, restarting or gone for a moment is asked
again, after a wait that grows and is partly drawn (``thor_ray.retries``).
"""

import asyncio
import json
import random
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from thor_ray.endpoints import (
    EndpointBusyError,
    EndpointError,
    EndpointLostError,
    EndpointRefusedError,
    EndpointReplyError,
    EndpointTimeoutError,
    EndpointUnreachableError,
)
from thor_ray.retries import RetryPolicy, retry_after_seconds

MAX_REPLY_BYTES: Final = 32 * 2**20
"""Of one answer. A server that goes on for longer is not read to its end."""

DEFAULT_RETRIES: Final = RetryPolicy()

_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""What a server may answer differently the next time."""
_LOCKED: Final = frozenset({401, 403})
_SHOWN: Final = 300


class AsyncJsonEndpoint:
    """One model server.

    Args:
        url: As OpenAI clients are given it, with ``/v1`` behind where the server has it.
        api_key: Sent as a bearer token, if given.
        timeout_seconds: Of each try, until its answer is complete.
        retries: When to try again.
        concurrency: Requests in flight.
        give_up_after: Requests in a row that failed at every try, before ``EndpointLostError``.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_seconds: float = 300.0,
        retries: RetryPolicy = DEFAULT_RETRIES,
        concurrency: int = 32,
        give_up_after: int = 4,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._concurrency = concurrency
        self._give_up_after = give_up_after
        self._failed_in_row = 0
        self._client: httpx.AsyncClient | None = None
        self._room: asyncio.Semaphore | None = None

    async def post(self, path: str, body: Any) -> Any:
        """Sends ``body`` to ``path`` below the address, and returns what the answer holds.

        Raises:
            EndpointUnreachableError: nobody listens there, or the connection broke, at every try.
            EndpointTimeoutError: no complete answer came in time, at every try.
            EndpointBusyError: the server was too busy at every try, or asks for too long a wait.
            EndpointRefusedError: it answers with another error.
            EndpointReplyError: its answer is not JSON, or too long.
            EndpointLostError: as many requests in a row have failed as are put up with.
        """
        async with self._slot():
            try:
                answer = await self._with_retries(path, body)
            except (EndpointUnreachableError, EndpointTimeoutError, EndpointBusyError) as error:
                self._failed_in_row += 1
                if self._failed_in_row >= self._give_up_after:
                    raise EndpointLostError(
                        f"{self.url} failed {self._failed_in_row} times in a row, lastly: {error.message}",
                        "start the server again, and go on with --resume",
                    ) from error
                raise
        self._failed_in_row = 0
        return answer

    async def aclose(self) -> None:
        """Closes the connections; what is asked later opens new ones."""
        if self._client is not None:
            await self._client.aclose()
        self._client = self._room = None

    def _slot(self) -> asyncio.Semaphore:
        # Both belong to the event loop that uses them first.
        if self._client is None or self._room is None:
            limits = httpx.Limits(max_connections=self._concurrency, max_keepalive_connections=self._concurrency)
            self._client = httpx.AsyncClient(headers=self._headers, limits=limits, timeout=self._timeout_seconds)
            self._room = asyncio.Semaphore(self._concurrency)
        return self._room

    async def _with_retries(self, path: str, body: Any) -> Any:
        failures = 0
        while True:
            try:
                return await self._once(f"{self.url}{path}", body)
            except EndpointBusyError as error:
                failed: EndpointError = error
                asked_for = error.retry_after_seconds
            except (EndpointUnreachableError, EndpointTimeoutError) as error:
                failed, asked_for = error, None
            failures += 1
            wait = self._retries.wait_seconds(failures, asked_for, random.random())
            if wait is None:
                raise failed
            await asyncio.sleep(wait)

    async def _once(self, url: str, body: Any) -> Any:
        assert self._client is not None
        try:
            async with asyncio.timeout(self._timeout_seconds), self._client.stream("POST", url, json=body) as reply:
                content = bytearray()
                async for part in reply.aiter_bytes():
                    content += part
                    if len(content) > MAX_REPLY_BYTES:
                        raise EndpointReplyError(f"{url} answers more than {MAX_REPLY_BYTES} bytes")
        except (TimeoutError, httpx.TimeoutException) as error:
            raise EndpointTimeoutError(
                f"{url} gave no complete answer within {self._timeout_seconds:g} s", "give the server more time"
            ) from error
        except httpx.TransportError as error:
            raise EndpointUnreachableError(
                f"{url} cannot be reached: {type(error).__name__} {error}", "start the server, or correct the address"
            ) from error
        if reply.is_error:
            raise _refusal(url, reply.status_code, bytes(content), reply.headers.get("Retry-After"))
        try:
            return json.loads(content)
        except ValueError as error:
            shown = bytes(content[:_SHOWN]).decode(errors="replace")
            raise EndpointReplyError(f"{url} answers no JSON: {shown!r}", "is this a model server?") from error


def _refusal(url: str, status: int, content: bytes, retry_after: str | None) -> EndpointRefusedError:
    told = f"{url} answers {status}: {content[:_SHOWN].decode(errors='replace')}"
    if status in _BUSY:
        wait = retry_after_seconds(retry_after, datetime.now(UTC))
        return EndpointBusyError(told, "wait, or ask less at a time", retry_after_seconds=wait)
    remedy = "give the server's key by the environment variable THOR_API_KEY" if status in _LOCKED else ""
    return EndpointRefusedError(told, remedy)
