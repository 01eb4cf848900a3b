"""Who is let in, and who is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.dashboard.access import Access, host_of, is_loopback
from thor_ray.errors import UserError

TOKEN = "a-secret_of-32-characters-or-more"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1", "LOCALHOST."])
def test_this_machine_needs_no_token(host):
    assert Access.for_host(host, None, 1).refusal({"host": "127.0.0.1:1"}) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", "", "localhost.example.org"])
def test_other_addresses_need_a_token(host):
    with pytest.raises(UserError, match="token"):
        Access.for_host(host, None, 1)
    Access.for_host(host, TOKEN, 1)


@pytest.mark.parametrize("token", ["", "with space", "ümlaut", "semi;colon", "x" * 1025, "new\nline", '"'])
def test_a_token_that_cannot_stand_in_a_cookie_is_refused(token):
    with pytest.raises(UserError, match="cannot be used"):
        Access.for_host("127.0.0.1", token, 1)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", "192.168.0.7", "", "[::1", "a:b", "[::1]x"]
)
def test_a_name_that_was_led_to_loopback_is_refused(host):
    refusal = Access.for_host("127.0.0.1", None, 8700).refusal({"host": host})
    assert refusal is not None
    assert refusal.code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8700", "localhost", "[::1]:8700", "localhost:1"])
def test_loopback_names_are_served(host):
    assert Access.for_host("127.0.0.1", None, 8700).refusal({"host": host}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
        {"cookie": f"other=1; thor_dashboard_8700={TOKEN}"},
    ],
)
def test_whoever_knows_the_token_is_served_under_any_name(headers):
    assert Access.for_host("0.0.0.0", TOKEN, 8700).refusal({"host": "anything.example", **headers}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"thor_dashboard_8701={TOKEN}"},
        {"cookie": "thor_dashboard_8700="},
        {"cookie": "thor_dashboard_8700"},
        {"cookie": f"thor_dashboard_8700={TOKEN}x"},
    ],
)
def test_without_the_token_there_is_no_access_even_on_this_machine(headers):
    refusal = Access.for_host("127.0.0.1", TOKEN, 8700).refusal({"host": "127.0.0.1", **headers})
    assert refusal is not None
    assert refusal.code == 401


@given(st.text())
def test_only_the_token_is_the_token(offer):
    assert Access(TOKEN).admits(offer) == (offer == TOKEN)
    assert not Access(None).admits(offer)


@given(st.text(max_size=40))
def test_any_host_header_is_read_without_an_error(header):
    assert isinstance(is_loopback(host_of(header)), bool)
