"""Who may use the server. Pure: no clock, no socket.

Two rules. An address that other machines can reach needs a token. Without a token, only requests that were meant for a
loopback address are served: a page in a browser on this machine can be led to a loopback server by a name of its own (DNS
rebinding), but then the name stands in the request.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sandbox.errors import SandboxError

MAX_TOKEN_LENGTH: Final = 1024


class CannotServe(SandboxError):
    """The server cannot be started as asked; the message names the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        code: HTTP status.
        message: for the client's user.
        headers: of the reply.
    """

    code: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Access:
    """The rule in force: with a token whoever knows it, without one whoever is on this machine."""

    token: str | None = field(default=None, repr=False)

    @classmethod
    def for_host(cls, host: str, token: str | None) -> Access:
        """The rule for a server that listens on `host`.

        Raises:
            CannotServe: other machines can reach the host and there is no token, or the token cannot stand in a header.
        """
        if token is None and not is_loopback(host):
            raise CannotServe(
                f"other machines can reach {host or 'an empty host'}, so it needs a token: set THOR_SANDBOX_TOKEN or give "
                "--token, or listen on 127.0.0.1"
            )
        if token is not None and not (token.isascii() and token.isprintable() and 0 < len(token) <= MAX_TOKEN_LENGTH):
            raise CannotServe(
                f"the token cannot be used: it needs 1 to {MAX_TOKEN_LENGTH} printable ASCII characters, for instance "
                "what `openssl rand -hex 32` prints"
            )
        return cls(token)

    def refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request with these headers (names in lower case) is not served; None if it is."""
        if self.token is None:
            host = host_of(headers.get("host", ""))
            if host and not is_loopback(host):
                return Refusal(
                    421, f"this server serves loopback addresses, not {host}; start it with a token for others"
                )
            return None
        if any(_equal(offer, self.token) for offer in offered_tokens(headers.get("authorization", ""))):
            return None
        return Refusal(
            401,
            "a token is needed: `Authorization: Bearer TOKEN`, or http://user:TOKEN@host in the address",
            {"WWW-Authenticate": "Bearer"},
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host; a name other than localhost may lead anywhere."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """The host in a `Host` header: no port, no brackets."""
    header = header.strip()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def offered_tokens(header: str) -> list[str]:
    """The tokens in an `Authorization` header.

    Basic credentials count by their password: clients that know no tokens send them if they stand in the server's address.
    """
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return [value]
    if scheme.lower() == "basic":
        try:
            return [base64.b64decode(value).decode("utf-8").partition(":")[2]]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return []
    return []


def _equal(offer: str, token: str) -> bool:
    """Comparison whose time does not tell how much of the token was right."""
    return hmac.compare_digest(offer.encode("utf-8", "surrogatepass"), token.encode())
