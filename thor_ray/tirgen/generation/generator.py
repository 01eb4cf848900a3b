"""The interface of generators (paper algorithm 1, the policy that will be trained)."""

from collections.abc import Sequence
from typing import Protocol

from thor_ray.usage import Usage

Prompt = Sequence[int]
"""Token ids of a prompt, by the policy's tokenizer. To go on with a solution is to give what is written of it behind the prompt."""


class Generator(Protocol):
    """Writes solutions without tools."""

    @property
    def usage(self) -> Usage:
        """What it has consumed so far."""

    async def sample(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """One continuation of each prompt; the same prompts and seed give the same texts.

        Raises:
            EndpointError: it is a server, which cannot be asked.
            EngineError: its engine is dead.
        """
