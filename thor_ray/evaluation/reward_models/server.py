"""A reward model behind HTTP, in the ways in which vLLM serves one (``vllm serve MODEL --runner pooling``).

* ``classify``: ``POST /classify`` with chat messages; the answer's ``data[0].probs`` holds one logit. What vLLM offers for
  sequence classifiers, and for reward models that it converts to such. The logit is asked for as it is
  (``use_activation: false``): a sigmoid would round good responses to equal ones.
* ``pooling``: ``POST /pooling`` with chat messages; the answer's ``data[0].data`` holds a number for the whole
  conversation, or one for each token, of which the last counts. What vLLM offers for reward models that judge tokens.
* ``score``: ``POST /score`` with the question and the response as two texts; the answer's ``data[0].score``. What
  cross-encoders are served by.

Each conversation is one request; so many are in flight at a time as ``concurrency`` says.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from thor_ray.endpoints import EndpointReplyError, JsonEndpoint
from thor_ray.evaluation.reward_models.interface import Conversation

CONCURRENCY: Final = 8
"""Requests in flight at a time, unless told otherwise."""


class Protocol(StrEnum):
    """How a server is asked for a score."""

    CLASSIFY = "classify"
    POOLING = "pooling"
    SCORE = "score"


class RewardServer:
    """A reward model behind HTTP.

    Args:
        endpoint: The server.
        model: The model's name on it.
        protocol: How to ask.
        concurrency: Requests in flight at a time.

    Raises:
        ValueError: ``concurrency`` is not positive.
    """

    def __init__(
        self,
        endpoint: JsonEndpoint,
        model: str,
        protocol: Protocol = Protocol.CLASSIFY,
        concurrency: int = CONCURRENCY,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be positive, got {concurrency}")
        self._endpoint = endpoint
        self._model = model
        self._form = _FORMS[protocol]
        self._concurrency = concurrency

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """One number each, in order; see `RewardModel.scores`.

        Raises:
            EndpointError: the server cannot be asked, or answers something else.
        """
        with ThreadPoolExecutor(self._concurrency, "reward") as threads:
            asked = [threads.submit(self._score, conversation) for conversation in conversations]
            try:
                return [one.result() for one in asked]
            finally:
                # After an error the rest would fail in the same way, each after all its tries.
                threads.shutdown(wait=False, cancel_futures=True)

    def _score(self, conversation: Conversation) -> float:
        url = f"{self._endpoint.root}{self._form.path}"
        reply = self._endpoint.post(url, {"model": self._model, **self._form.body(conversation)})
        try:
            return _finite(self._form.read(reply))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EndpointReplyError(
                f"{url} answers no single score for a conversation: {_fault(error)}",
                "serve a reward model that gives one number, or choose another --protocol",
            ) from error


@dataclass(frozen=True, slots=True)
class _Form:
    """How one protocol asks and answers.

    Attributes:
        path: Below the server's address.
        body: The request for a conversation, without the model's name.
        read: The score in an answer; raises ``KeyError``, ``IndexError``, ``TypeError`` or ``ValueError`` where there is none.
    """

    path: str
    body: Callable[[Conversation], dict[str, Any]]
    read: Callable[[Any], float]


def _read_classes(reply: Any) -> float:
    (logits,) = [entry["probs"] for entry in reply["data"]]
    if len(logits) != 1:
        raise ValueError(f"the model has {len(logits)} labels, a reward model has one")
    return float(logits[0])


def _read_pooled(reply: Any) -> float:
    (pooled,) = [entry["data"] for entry in reply["data"]]
    last = pooled[-1]
    if isinstance(last, list):
        if len(last) != 1:
            raise ValueError(f"each token has {len(last)} figures, as in a process reward model with that many labels")
        return float(last[0])
    if len(pooled) != 1:
        raise ValueError(f"the conversation has {len(pooled)} figures, as an embedding has")
    return float(last)


def _read_pair(reply: Any) -> float:
    (entry,) = reply["data"]
    return float(entry["score"])


_FORMS: Final[Mapping[Protocol, _Form]] = {
    Protocol.CLASSIFY: _Form(
        "/classify", lambda conversation: {"messages": conversation.messages, "use_activation": False}, _read_classes
    ),
    Protocol.POOLING: _Form(
        "/pooling", lambda conversation: {"messages": conversation.messages, "use_activation": False}, _read_pooled
    ),
    Protocol.SCORE: _Form(
        "/score",
        lambda conversation: {
            "text_1": conversation.question,
            "text_2": conversation.response,
            "use_activation": False,
        },
        _read_pair,
    ),
}


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise ValueError(f"the score is {score}")
    return score


def _fault(error: Exception) -> str:
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)
