"""Who may see the page. Pure: no clock, no socket.

An address that other machines can reach needs a token. Without a token, only requests that were meant for a loopback
address are served: a page in a browser on this machine can be led to a loopback server by a name of its own (DNS
rebinding), but then that name stands in the request.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final

from thor_ray.errors import UserError

MAX_TOKEN_LENGTH: Final = 1024

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every reply: no script or style but the packaged files runs, even if text of a model were taken for markup."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        code: HTTP status.
        message: For the person at the browser.
    """

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rule in force: with a token whoever knows it, without one whoever is on this machine.

    Attributes:
        token: What a browser must bring, in a header or a cookie.
        port: Part of the cookie's name, since cookies do not tell the ports of a host apart.
    """

    token: str | None = field(default=None, repr=False)
    port: int = 0

    @classmethod
    def for_host(cls, host: str, token: str | None, port: int) -> "Access":
        """The rule for a server that listens on ``host``.

        Raises:
            UserError: other machines can reach the host and there is no token, or the token cannot stand in a cookie.
        """
        if token is None and not is_loopback(host):
            raise UserError(
                f"other machines can reach {host or 'an empty host'}, so the page needs a token",
                "give --token or set THOR_DASHBOARD_TOKEN, or listen on 127.0.0.1",
            )
        if token is not None and not _fits_cookie(token):
            raise UserError(
                "the token cannot be used in an address and a cookie",
                f"take up to {MAX_TOKEN_LENGTH} letters, digits, - and _, as `openssl rand -hex 32` prints",
            )
        return cls(token, port)

    @property
    def cookie(self) -> str:
        """Name of the cookie that holds the token."""
        return f"thor_dashboard_{self.port}"

    def refusal(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request with these headers (names in lower case) is not served; ``None`` if it is."""
        if self.token is None:
            host = host_of(headers.get("host", ""))
            if not is_loopback(host):
                return Refusal(421, f"this page serves loopback addresses, not {host or 'a missing Host header'}")
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        offers = [bearer.strip()] if scheme.lower() == "bearer" else []
        offers += _cookies(headers.get("cookie", ""), self.cookie)
        if any(self.admits(offer) for offer in offers):
            return None
        return Refusal(401, "a token is needed: open the address that `thor dashboard` printed, which ends in ?token=…")

    def admits(self, offer: str) -> bool:
        """Whether ``offer`` is the token, in a time that says nothing about how much of it is right."""
        return self.token is not None and hmac.compare_digest(
            offer.encode("utf-8", "surrogatepass"), self.token.encode()
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
    """The host of a Host header, without port and brackets; empty where it is malformed."""
    if header.startswith("["):
        address, bracket, rest = header[1:].partition("]")
        return address if bracket and (not rest or rest.startswith(":")) else ""
    host, _, port = header.partition(":")
    return host if not port or port.isdigit() else ""


def _fits_cookie(token: str) -> bool:
    return 0 < len(token) <= MAX_TOKEN_LENGTH and token.isascii() and token.replace("-", "").replace("_", "").isalnum()


def _cookies(header: str, name: str) -> list[str]:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return []
    return [] if morsel is None else [morsel.value]
