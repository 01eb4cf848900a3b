"""Who may use the HTTP server: this machine alone, or whoever knows the token."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.http.access import Access, CannotServe, host_of, is_loopback, offered_tokens

TOKEN = "c0ffee" * 8
ANY_TEXT = st.text(st.characters(blacklist_categories=["Cs"]))


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST", "localhost."])
def test_a_loopback_address_needs_no_token(host):
    assert is_loopback(host)
    assert Access.for_host(host, None).refusal({"host": "localhost:8080"}) is None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.4", "example.org", "127.0.0.1.example.org", "fe80::1"]
)
def test_an_address_that_others_can_reach_needs_one(host):
    with pytest.raises(CannotServe, match="THOR_SANDBOX_TOKEN"):
        Access.for_host(host, None)
    assert Access.for_host(host, TOKEN).refusal({"authorization": f"Bearer {TOKEN}"}) is None


@pytest.mark.parametrize("token", ["", "two\nlines", "naïve", "x" * 1025])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token):
    with pytest.raises(CannotServe, match="openssl rand"):
        Access.for_host("127.0.0.1", token)


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("evil.example.org:8080", "evil.example.org"),
        ("", ""),
    ],
)
def test_the_host_is_found_in_its_header(header, host):
    assert host_of(header) == host


def test_without_a_token_a_request_by_another_name_is_refused():
    """A browser that was led here by DNS rebinding still says which name it asked for."""
    refusal = Access(None).refusal({"host": "evil.example.org:8080"})
    assert refusal is not None
    assert refusal.code == 421
    assert "evil.example.org" in refusal.message


@pytest.mark.parametrize(
    "header",
    [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", basic("anybody", TOKEN), basic("", TOKEN)],
)
def test_the_token_opens(header):
    assert Access(TOKEN).refusal({"authorization": header, "host": "elsewhere"}) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Digest {TOKEN}",
        basic(TOKEN, ""),
        "Basic !!!",
        "Basic /w==",
        "Basic é",
    ],
)
def test_nothing_else_does(header):
    refusal = Access(TOKEN).refusal({"authorization": header, "host": "127.0.0.1"})
    assert refusal is not None
    assert (refusal.code, refusal.headers) == (401, {"WWW-Authenticate": "Bearer"})
    assert TOKEN not in refusal.message


@given(header=ANY_TEXT)
def test_no_header_is_an_error(header):
    assert all(isinstance(token, str) for token in offered_tokens(header))
    assert Access(TOKEN).refusal({"authorization": header}) is not None


@given(
    token=st.text(string.ascii_letters + string.digits + string.punctuation, min_size=1),
    user=st.text("abc", max_size=3),
)
def test_every_token_opens_by_either_scheme(token, user):
    access = Access.for_host("0.0.0.0", token)
    assert access.refusal({"authorization": f"Bearer {token}"}) is None
    assert access.refusal({"authorization": basic(user, token)}) is None


def test_a_token_is_not_printed():
    assert TOKEN not in repr(Access(TOKEN))
