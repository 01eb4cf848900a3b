"""Reward models behind HTTP: asked in the ways that servers speak, with bounded tries, and errors that say which."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_server import RunningServer, running_server
from thor_ray import endpoints
from thor_ray.endpoints import (
    EndpointError,
    EndpointRefusedError,
    EndpointReplyError,
    EndpointTimeoutError,
    EndpointUnreachableError,
    JsonEndpoint,
)
from thor_ray.evaluation.reward_models import Conversation, Protocol, RewardServer

CONVERSATIONS = [Conversation("What is 3 + 4?", "x" * length) for length in (30, 10, 20)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "requests.jsonl") as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_WAIT_SECONDS", 0.01)


def model(server: RunningServer, name: str = "rm", protocol: Protocol = Protocol.CLASSIFY, **options) -> RewardServer:
    return RewardServer(JsonEndpoint(server.url, timeout_seconds=1.0), name, protocol, **options)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("rm", Protocol.CLASSIFY),
        ("rm", Protocol.POOLING),
        ("outcome", Protocol.POOLING),
        ("rm", Protocol.SCORE),
    ],
)
def test_scores_come_in_the_order_of_the_conversations(server: RunningServer, name: str, protocol: Protocol) -> None:
    assert model(server, name, protocol).scores(CONVERSATIONS) == [3, 1, 2]
    assert {request["path"] for request in server.requests} == {f"/{protocol}"}


def test_a_conversation_is_asked_about_as_chat_messages_and_raw_logits_are_wanted(server: RunningServer) -> None:
    RewardServer(JsonEndpoint(f"{server.url}/v1/", "key"), "rm").scores(CONVERSATIONS[:1])
    (request,) = server.requests
    assert request["path"] == "/classify"
    assert request["authorization"] == "Bearer key"
    assert request["body"] == {
        "model": "rm",
        "messages": [
            {"role": "user", "content": "What is 3 + 4?"},
            {"role": "assistant", "content": "x" * 30},
        ],
        "use_activation": False,
    }


def test_no_more_requests_are_in_flight_than_allowed(server: RunningServer) -> None:
    assert len(model(server, "slow", concurrency=3).scores(CONVERSATIONS * 3)) == 9
    assert max(request["in_flight"] for request in server.requests) == 3


def test_a_busy_server_is_asked_again(server: RunningServer) -> None:
    assert model(server, "busy", concurrency=1).scores(CONVERSATIONS[:1]) == [3]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("name", "error", "words", "tries"),
    [
        ("down", EndpointRefusedError, "503: out of memory", endpoints.TRIES),
        ("missing", EndpointRefusedError, "404: The model `missing` does not exist", 1),
        ("locked", EndpointRefusedError, "401: no key\n.*THOR_API_KEY", 1),
        ("silent", EndpointTimeoutError, "no answer for 0.3 s", endpoints.TRIES),
        ("rude", EndpointUnreachableError, "cannot be reached", endpoints.TRIES),
        ("babbling", EndpointReplyError, "answers no JSON: '<html>", 1),
        ("two-labels", EndpointReplyError, "2 labels", 1),
        ("infinite", EndpointReplyError, "the score is inf", 1),
        ("empty", EndpointReplyError, "no single score", 1),
    ],
)
def test_what_goes_wrong_is_named_and_tried_again_only_where_that_helps(
    server: RunningServer, name: str, error: type[EndpointError], words: str, tries: int
) -> None:
    asked = RewardServer(JsonEndpoint(server.url, timeout_seconds=0.3), name)
    with pytest.raises(error, match=words):
        asked.scores(CONVERSATIONS[:1])
    assert len(server.requests) == tries


def test_a_process_reward_model_is_no_outcome_reward_model(server: RunningServer) -> None:
    with pytest.raises(EndpointReplyError, match="each token has 2 figures"):
        model(server, "two-labels", Protocol.POOLING).scores(CONVERSATIONS[:1])


def test_an_error_does_not_wait_for_the_rest(server: RunningServer) -> None:
    with pytest.raises(EndpointRefusedError):
        model(server, "missing", concurrency=2).scores(CONVERSATIONS * 20)
    assert len(server.requests) < 30


def test_where_nobody_listens_the_address_is_named(server: RunningServer) -> None:
    server.process.kill()
    server.process.wait()
    with pytest.raises(EndpointUnreachableError, match=rf"{server.url}/classify cannot be reached.*\nstart the server"):
        model(server).scores(CONVERSATIONS[:1])


def test_senseless_settings_are_refused() -> None:
    for arguments, fault in (
        (("ftp://host",), "http"),
        (("http://",), "http"),
        (("http://host", None, 0.0), "timeout"),
        (("http://host", None, 1.0, 0), "tries"),
    ):
        with pytest.raises(ValueError, match=fault):
            JsonEndpoint(*arguments)
    with pytest.raises(ValueError, match="concurrency"):
        RewardServer(JsonEndpoint("http://host"), "rm", concurrency=0)
