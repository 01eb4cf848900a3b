"""An engine that lends its GPU to the learner: what of it sleeps, and in which order that wakes.

vLLM gives the memory of two *parts* back, weights and key-value cache, and takes each again by its tag. Weights wake
first: new ones are then loaded into them, and only then the cache comes, so that the GPU never holds the buckets on
their way, the cache and whatever the learner still needs at once.

Of vLLM's two levels of sleep this is the first, which keeps a copy of the weights in the machine's memory. The second
discards them: it would save that copy, but whatever wakes an engine without publishing to it, such as a round with no
update, would make it serve what the memory happens to hold.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, Protocol

from actors.generation import EngineError, TurnError

Part = Literal["weights", "kv_cache"]
"""vLLM's names of what sleeps."""

WAKING_ORDER: Final[Sequence[Part]] = ("weights", "kv_cache")

KEEP_WEIGHTS: Final = 1
"""vLLM's level of sleep at which weights are copied to the machine's memory; the cache is discarded."""


class SleepsByPart(Protocol):
    """What of vLLM's ``AsyncLLM`` is needed here."""

    async def sleep(self, level: int = 1, mode: Literal["abort", "wait", "keep"] = "abort") -> None:
        """Pauses generation and gives memory back."""

    async def wake_up(self, tags: list[str] | None = None) -> bool:
        """Takes the memory of some parts again, and generates on as soon as none is left; whether none is."""


class Sleep:
    """Whether an engine sleeps; starts awake. ``begin`` and ``end`` may be called in any state, and by several at once.

    Args:
        engine: Which.
        free_memory: Bytes that are free on its GPUs; ``None`` where it has none, and vLLM frees nothing.
    """

    def __init__(self, engine: SleepsByPart, free_memory: Callable[[], Awaitable[int]] | None = None) -> None:
        self._engine = engine
        self._free_memory = free_memory
        self._asleep: list[Part] = []
        self._turning = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self._asleep)

    def require_awake(self) -> None:
        """Refuses a prompt, which vLLM would keep until it wakes.

        Raises:
            TurnError: it sleeps.
        """
        if self:
            raise TurnError("the engine sleeps while the learner works: wake it before it is given prompts")

    async def begin(self) -> int:
        """Everything falls asleep. vLLM forgets the prefixes that it had cached.

        Returns:
            Bytes that became free; 0 if it slept already.

        Raises:
            EngineError: none did, so that the learner would run out of memory; or vLLM failed.
        """
        async with self._turning:
            if self:
                return 0
            before = await self._free()
            # Whatever comes of the call, no prompt may be taken from now on.
            self._asleep = list(WAKING_ORDER)
            await _done("fall asleep", self._engine.sleep(level=KEEP_WEIGHTS, mode="keep"))
            freed = await self._free() - before
        if self._free_memory is not None and freed <= 0:
            raise EngineError("the engine fell asleep, and nothing became free on its GPU")
        return freed

    async def end(self, part: Part) -> None:
        """A part wakes, and all that has to before it.

        Raises:
            EngineError: there is no room for it, or vLLM failed otherwise.
        """
        async with self._turning:
            while part in self._asleep:
                await _done(f"wake its {self._asleep[0]}", self._engine.wake_up([self._asleep[0]]))
                del self._asleep[0]

    async def _free(self) -> int:
        return 0 if self._free_memory is None else await self._free_memory()


async def _done(what: str, doing: Awaitable[object]) -> None:
    try:
        await doing
    except Exception as error:
        # What vLLM's core raises arrives as a bare Exception. Whatever it was, the engine is of no use any more.
        raise EngineError(f"the engine could not {what}: {error}") from error
