"""Asking a model server over HTTP: JSON there and back, bounded in time and tries, errors that say what to do.

Standard library only. A server that is busy (429), restarting (502, 503, 504) or drops the connection is asked again; one that
refuses the request (any other status) is not, since it would refuse it again.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

from thor_ray.errors import UserError

TRIES: Final = 3
"""How often a request is sent at the most."""

FIRST_WAIT_SECONDS: Final = 0.5
"""Before the second try; doubled before each further one."""

_WORTH_ANOTHER_TRY: Final = frozenset({429, 502, 503, 504})
_SHOWN: Final = 300
"""Characters of a server's own words in a message."""


class EndpointError(UserError):
    """A model server could not be asked, or its answer is of no use. The message names the address."""


class EndpointUnreachableError(EndpointError):
    """Nobody listens at the address, or the connection broke, at every try."""


class EndpointTimeoutError(EndpointError):
    """No complete answer came in time, at every try."""


class EndpointRefusedError(EndpointError):
    """The server answered with an error."""


class EndpointBusyError(EndpointRefusedError):
    """The server answered, at every try, that it cannot answer now.

    Attributes:
        retry_after_seconds: The wait that it asked for at the last try, if it did.
    """

    def __init__(self, message: str, remedy: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, remedy)
        self.retry_after_seconds = retry_after_seconds


class EndpointLostError(EndpointError):
    """So many requests in a row have failed that it makes no sense to go on."""


class EndpointReplyError(EndpointError):
    """The server answered, but not what its protocol says."""


class JsonEndpoint:
    """One model server.

    Args:
        url: Of the server, as in ``http://127.0.0.1:8000`` or, as OpenAI clients are given it, with ``/v1`` behind.
        api_key: Sent as a bearer token, if given.
        timeout_seconds: How long the server may be silent at each try.
        tries: How often a request is sent at the most.

    Raises:
        ValueError: The address is not an http or https one, or a bound is not positive.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout_seconds: float = 60.0, tries: int = TRIES) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"the address of a model server must begin with http:// or https://, got {url}")
        if timeout_seconds <= 0:
            raise ValueError(f"timeout_seconds must be positive, got {timeout_seconds}")
        if tries < 1:
            raise ValueError(f"tries must be positive, got {tries}")
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout_seconds = timeout_seconds
        self._tries = tries

    @property
    def root(self) -> str:
        """The address without ``/v1``, below which vLLM serves what OpenAI has no name for."""
        return self.url.removesuffix("/v1")

    def get(self, url: str) -> Any:
        """What an address of the server holds; asked once, blocks meanwhile. Raises what ``post`` does."""
        return self._once(urllib.request.Request(url, headers=self._headers))

    def post(self, url: str, body: Any) -> Any:
        """Sends ``body`` to an address of the server, and returns what its answer holds; blocks meanwhile.

        Raises:
            EndpointUnreachableError: nobody listens there.
            EndpointTimeoutError: the server is silent for too long.
            EndpointRefusedError: it answers with an error.
            EndpointReplyError: its answer is not JSON.
        """
        request = urllib.request.Request(url, json.dumps(body).encode(), self._headers)
        wait = FIRST_WAIT_SECONDS
        for last in (*[False] * (self._tries - 1), True):
            try:
                return self._once(request)
            except (EndpointUnreachableError, EndpointTimeoutError):
                if last:
                    raise
            except EndpointRefusedError as error:
                if last or not isinstance(error.__cause__, urllib.error.HTTPError):
                    raise
                if error.__cause__.code not in _WORTH_ANOTHER_TRY:
                    raise
            time.sleep(wait)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _once(self, request: urllib.request.Request) -> Any:
        url = request.full_url
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            words = _words(error)
            raise EndpointRefusedError(f"{url} answers {error.code}: {words}", _remedy(error.code)) from error
        except TimeoutError as error:
            raise self._late(url) from error
        except (OSError, http.client.HTTPException) as error:
            # urllib wraps what goes wrong while connecting, but not what goes wrong while reading.
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, TimeoutError):
                raise self._late(url) from error
            raise EndpointUnreachableError(
                f"{url} cannot be reached: {reason}", "start the server, or correct the address"
            ) from error
        try:
            return json.loads(content)
        except ValueError as error:
            shown = content[:_SHOWN].decode(errors="replace")
            raise EndpointReplyError(f"{url} answers no JSON: {shown!r}", "is this a model server?") from error

    def _late(self, url: str) -> EndpointTimeoutError:
        return EndpointTimeoutError(
            f"{url} gave no answer for {self._timeout_seconds:g} s, {self._tries} times",
            "give the server more time, or ask less at a time",
        )


def _words(error: urllib.error.HTTPError) -> str:
    """What the server says of an error: its message, else the beginning of the body."""
    try:
        body = error.read()
    except (OSError, http.client.HTTPException):
        return str(error.reason)
    try:
        tree = json.loads(body)
        message = tree.get("error", tree)
        return str(message["message"] if isinstance(message, dict) else message)[:_SHOWN]
    except (ValueError, KeyError, AttributeError):
        return body[:_SHOWN].decode(errors="replace") or str(error.reason)


def _remedy(status: int) -> str:
    match status:
        case 401 | 403:
            return "give the server's key by the environment variable THOR_API_KEY"
        case 404:
            return "check the address, and that the server serves this model in this way"
        case _ if status in _WORTH_ANOTHER_TRY:
            return "the server is overloaded or starting: wait, or ask less at a time"
        case _:
            return ""
