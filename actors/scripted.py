"""An engine that plays scripted tokens: for tests of the state machines and of what drives them, never of results.

It stops where vLLM stops: after the token that completes a stop string, after the end-of-sequence token, at the limit.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from actors.codec import Codec
from actors.generation import Generation, GenerationRequest, Interruption, OnTokens, StopCause
from thor_ray.weights import Delivery, WeightReceipt

Script = Callable[[GenerationRequest], Iterable[int]]
"""What the model would write after a request's ids if nothing stopped it. An iterator may be handed out repeatedly:
each request takes what it samples and leaves the rest."""


def scripted_log_prob(token: int) -> float:
    """The log-prob that a scripted engine reports for a token, a different one for neighbouring ids."""
    return -(1 + token % 16) / 16


def play_script(
    tokens: Iterator[int], stop: Sequence[str], max_new_tokens: int, codec: Codec, end_id: int, version: int = 0
) -> Generation:
    """Takes tokens up to the first reason to stop. A script that runs dry is an abort."""
    ids: list[int] = []
    cause = StopCause.ABORTED
    for token in tokens:
        ids.append(token)
        if token == end_id:
            cause = StopCause.EOS
        elif any(string in codec.decode(ids) for string in stop):
            cause = StopCause.STOP
        elif len(ids) >= max_new_tokens:
            cause = StopCause.LENGTH
        else:
            continue
        break
    return Generation(tuple(ids), tuple(map(scripted_log_prob, ids)), cause, version)


class ScriptedEngine:
    """An `Engine` without a model.

    Args:
        codec: The tokenizer that the script was written with.
        end_id: Its end-of-sequence token.
        script: What to write.
        seconds_per_request: How long each generation takes.
    """

    def __init__(self, codec: Codec, end_id: int, script: Script, seconds_per_request: float = 0.0) -> None:
        self.requests: list[GenerationRequest] = []
        self._codec = codec
        self._end_id = end_id
        self._script = script
        self._seconds = seconds_per_request
        self._version = 0

    @property
    def version(self) -> int:
        """Version of the last weights received."""
        return self._version

    async def generate(
        self,
        request: GenerationRequest,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Generation:
        """Plays on; see `Engine.generate`. What is interrupted has got half-way."""
        self.requests.append(request)
        version = self._version
        interrupted = await _slept(self._seconds, interruption)
        tokens = iter(self._script(request))
        played = play_script(tokens, request.stop, request.max_new_tokens, self._codec, self._end_id, version)
        if interrupted:
            half = len(played.ids) // 2
            played = replace(played, ids=played.ids[:half], log_probs=played.log_probs[:half], cause=StopCause.ABORTED)
        if on_tokens is not None:
            for token in played.ids:
                on_tokens([token])
        return played

    async def probe_log_probs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """The same log-probs that generation reports; see `Engine.probe_log_probs`."""
        return [[scripted_log_prob(token) for token in ids[1:]] for ids in sequences]

    async def update_weights(self, delivery: Delivery) -> WeightReceipt:
        """Takes the version; there are no weights to load."""
        self._version = delivery.version
        return WeightReceipt(delivery.version, (), 0.0)

    def close(self) -> None:
        """There is nothing to end."""


async def _slept(seconds: float, interruption: Interruption | None) -> bool:
    """Sleeps, or up to an interruption; whether there was one."""
    if interruption is None:
        await asyncio.sleep(seconds)
        return False
    try:
        async with asyncio.timeout(seconds):
            await interruption.wait()
    except TimeoutError:
        return False
    return True
