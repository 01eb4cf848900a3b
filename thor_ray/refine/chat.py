"""Language models that answer in a conversation, wherever they run."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from thor_ray.async_endpoints import AsyncJsonEndpoint
from thor_ray.endpoints import EndpointReplyError
from thor_ray.usage import Usage

SEED_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        content: What was said.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What the assistant says next.

    Attributes:
        text: Without the token that ends the turn.
        finished: Whether it ended its turn, rather than run out of tokens.
        usage: Of this call.
    """

    text: str
    finished: bool
    usage: Usage


class ChatModel(Protocol):
    """Answers a conversation whose last turn is the user's."""

    async def reply(self, conversation: Sequence[Message], seed: int) -> ChatReply:
        """The assistant's next turn; the same conversation and seed give the same one, as far as the server keeps to it.

        Raises:
            EndpointError: it is a server, which cannot be asked or answers otherwise than it should.
            EngineError: its engine is dead, or the conversation does not fit it.
        """


@dataclass(frozen=True, slots=True)
class ChatSampling:
    """How replies are sampled.

    Attributes:
        temperature: 0 is greedy.
        top_p: Nucleus; 1 keeps all.
        top_k: 0 keeps all tokens.
        max_tokens: Of one reply.
    """

    temperature: float = 0.6
    top_p: float = 1.0
    top_k: int = 50
    max_tokens: int = 1024

    def body(self, seed: int) -> dict[str, Any]:
        """As OpenAI's protocol has it; ``top_k``, which only other servers know, is left out if it keeps all."""
        sampling = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": seed % SEED_LIMIT,
        }
        return {**sampling, "top_k": self.top_k} if self.top_k else sampling


@dataclass(frozen=True, slots=True)
class EndpointChatModel:
    """A model on an OpenAI-compatible server.

    Attributes:
        endpoint: The server.
        model: Its name there.
        sampling: How replies are sampled.
        extra: Added to the body of each request.
    """

    endpoint: AsyncJsonEndpoint
    model: str
    sampling: ChatSampling
    extra: Mapping[str, Any] = field(default_factory=dict)

    async def reply(self, conversation: Sequence[Message], seed: int) -> ChatReply:
        """The assistant's next turn; see ``ChatModel``."""
        turns = [{"role": message.role, "content": message.content} for message in conversation]
        body = {"model": self.model, "messages": turns, **self.sampling.body(seed), **self.extra}
        started = time.perf_counter()
        answer = await self.endpoint.post("/chat/completions", body)
        return read_completion(answer, time.perf_counter() - started)


def read_completion(answer: Any, seconds: float = 0.0) -> ChatReply:
    """The first choice of an answer to ``/chat/completions`` or ``/completions``, and what it cost.

    Raises:
        EndpointReplyError: there is none.
    """
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        reason = choice.get("finish_reason")
        counts = answer.get("usage") or {}
        usage = Usage(1, int(counts.get("prompt_tokens", 0)), int(counts.get("completion_tokens", 0)), seconds)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EndpointReplyError(
            "the server's answer is no completion", "is this an OpenAI-compatible server?"
        ) from error
    if not isinstance(text, str | None):
        raise EndpointReplyError("the server's answer holds no text", "is this an OpenAI-compatible server?")
    return ChatReply(text or "", reason != "length", usage)
