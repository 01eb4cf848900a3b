"""What an engine is asked and what it answers: token ids in, token ids out (invariant 2).

The trajectory state machines speak to an engine only through `Engine`, so that the same machines run on vLLM and,
in tests of the machines themselves, on scripted tokens.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from thor_ray.weights import Delivery, WeightReceipt


class StopCause(StrEnum):
    """Why an engine stopped sampling."""

    STOP = "stop"
    """A stop string was completed; the tokens that hold it are part of the generation."""
    EOS = "eos"
    """The model ended its turn; the end-of-sequence token is part of the generation."""
    LENGTH = "length"
    ABORTED = "aborted"
    """Cut short from outside; what was sampled until then is valid."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One continuation of a token sequence.

    Attributes:
        ids: Everything the model conditions on.
        max_new_tokens: At least 1; the caller sees to it that prompt and continuation fit the context.
        temperature: 0 is greedy.
        top_p: Nucleus; 1 keeps all.
        top_k: 0 keeps all tokens.
        stop: Strings that end the generation, looked for in the continuation's own text only.
        seed: Of this request alone; the same request with the same seed and weights samples the same tokens.
    """

    ids: Sequence[int]
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What was sampled.

    Attributes:
        ids: New tokens only, the stop string's or the end-of-sequence token included.
        log_probs: Natural log-probability of each token under the distribution that it was drawn from, i.e. after
            temperature and truncation; at temperature 0 under the untempered one.
        cause: Why it ended.
        version: Version of the weights that sampled them or, if these were replaced in the midst, the first of them.
        cached_tokens: Prompt tokens whose keys and values were reused.
        later_versions: For each replacement in the midst the position of the first token of the new weights, and their
            version.
    """

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    cause: StopCause
    version: int
    cached_tokens: int = 0
    later_versions: tuple[tuple[int, int], ...] = ()

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Splits ``ids[start:end]`` into runs ``(start, end, version)`` of tokens that the same weights sampled."""
        begins = ((0, self.version), *self.later_versions)
        ends = (*(position for position, _ in self.later_versions), len(self.ids))
        for (begin, version), stop in zip(begins, ends, strict=True):
            if max(begin, start) < min(stop, end):
                yield max(begin, start), min(stop, end), version


OnTokens = Callable[[Sequence[int]], None]
"""Is given newly sampled tokens as they come. May be given some that lie after a stop string and are taken back in the end."""


Interruption = asyncio.Event
"""Once set, whoever was given it stops as soon as it can and keeps what it has; it is never cleared."""


class EngineError(RuntimeError):
    """The engine is dead, or refused a request. The message says which and what to do."""


class WeightsUndefinedError(EngineError):
    """The engine lives, but an update of its weights failed half-way; it samples on once another one has succeeded."""


class TurnError(RuntimeError):
    """An engine was asked to sleep while it works, or to work while it sleeps: a fault of the caller, not of the engine."""


class Engine(Protocol):
    """A language model that serves one version of the weights at a time."""

    @property
    def version(self) -> int:
        """Version of the weights that serve requests now."""

    async def generate(
        self,
        request: GenerationRequest,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Generation:
        """Samples one continuation.

        Args:
            request: What to continue, and how.
            on_tokens: Who wants to see the tokens as they come.
            interruption: Cuts it short: what has been sampled by then is returned, its cause ``aborted``.

        Raises:
            EngineError: the engine is dead or the request does not fit it.
        """

    async def probe_log_probs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probs of given tokens, each under the model conditioned on those before it, untempered.

        Returns:
            For each sequence of n tokens the n - 1 log-probs of its tokens from the second on.
        """

    async def update_weights(self, delivery: Delivery) -> WeightReceipt:
        """Replaces the weights. Requests in flight wait, and go on with the new ones from their next token.

        Raises:
            WeightTransferError: the bytes that arrived differ from those that were sent, or don't fit the model.
        """

    def close(self) -> None:
        """Ends the engine and its processes; harmless when called twice."""


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on their order, and on nothing else (invariant 11)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
