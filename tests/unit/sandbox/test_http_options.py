"""Where the server listens, and what it takes at all."""

import socket

import pytest

from sandbox.http import CannotServe, ServerOptions, server_limits
from sandbox.http.server import DEFAULT_MEMORY_BYTES, bind


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 65536}, "from 0 to 65535"),
        ({"port": -1}, "from 0 to 65535"),
        ({"max_requests": 0}, "at least 1"),
        ({"stop_seconds": -1.0}, "0 or more"),
        ({"stop_seconds": float("inf")}, "0 or more"),
        ({"host": "0.0.0.0"}, "needs a token"),
        ({"token": ""}, "printable ASCII"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_starts(options, words):
    with pytest.raises(CannotServe, match=words):
        ServerOptions(**options)


def test_a_token_is_not_printed():
    assert "hush" not in repr(ServerOptions(token="hush"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_free_port_is_found_and_listened_on(host):
    with bind(host, 0) as listener:
        address = listener.getsockname()
        assert address[0] == "127.0.0.1"
        with socket.create_connection(address, timeout=5):
            pass


@pytest.mark.parametrize("host", ["host.invalid", "203.0.113.7", "x" * 300])
def test_an_address_that_is_not_ours_is_refused(host):
    with pytest.raises(CannotServe, match="cannot be listened on"):
        bind(host, 0)


def test_a_port_that_is_taken_is_refused_by_its_number():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(CannotServe, match=f"port {port} of 127.0.0.1 .* in use; choose another with --port"):
            bind("127.0.0.1", port)


def test_a_port_can_be_taken_again_at_once():
    with bind("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5), listener.accept()[0]:
            pass  # closed by the server first, so the port lingers in TIME_WAIT
    with bind("127.0.0.1", address[1]):
        pass


def test_by_default_a_program_may_use_what_clients_ask_for_or_what_there_is(monkeypatch):
    monkeypatch.setattr("sandbox.http.server.default_budget", lambda: 16 * DEFAULT_MEMORY_BYTES)
    assert server_limits().memory_bytes == DEFAULT_MEMORY_BYTES
    monkeypatch.setattr("sandbox.http.server.default_budget", lambda: DEFAULT_MEMORY_BYTES // 4)
    assert server_limits().share_bytes == DEFAULT_MEMORY_BYTES // 4
    assert server_limits(5 * DEFAULT_MEMORY_BYTES).memory_bytes == 5 * DEFAULT_MEMORY_BYTES
