"""Generators of TIRGen: the policy on its rollout actors, or a model server."""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any, Final

from actors.codec import Codec, TokenizerCodec
from actors.generation import Generation, GenerationRequest, derive_seed
from thor_ray.async_endpoints import AsyncJsonEndpoint
from thor_ray.config import TirgenConfig
from thor_ray.dialogue import PROMPT_TEMPLATES
from thor_ray.errors import WorkerError
from thor_ray.refine.chat import ChatReply, ChatSampling, read_completion
from thor_ray.tirgen.generation import CutRules, FragmentCutter, Prompt
from thor_ray.usage import Usage

CALL_SECONDS: Final = 900.0
"""Of one call of a rollout actor, which has a shorter deadline of its own."""


class FleetGenerator:
    """The policy on its rollout actors as a ``Generator``.

    Args:
        actors: Handles of rollout actors; calls are dealt out to them in turn.
        config: How solutions are sampled.
        max_context: Tokens of prompt and solution together; a prompt that leaves no room is answered with nothing.
        codec: The policy's.
    """

    def __init__(self, actors: Sequence[Any], config: TirgenConfig, max_context: int, codec: Codec) -> None:
        self._actors = cycle(actors)
        self._config = config
        self._max_context = max_context
        self._codec = codec
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """What it has consumed so far."""
        return self._usage

    async def sample(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """One continuation of each prompt; see ``Generator``."""
        generator = self._config.generator
        requests = {
            index: GenerationRequest(
                tuple(prompt),
                budget,
                self._config.temperature,
                generator.top_p,
                generator.top_k,
                seed=derive_seed(seed, "text", index),
            )
            for index, prompt in enumerate(prompts)
            if (budget := token_budget(self._config, self._max_context, len(prompt))) > 0
        }
        started = time.perf_counter()
        generations = await ask_actor(next(self._actors), list(requests.values())) if requests else []
        self._usage += Usage(
            calls=1,
            prompt_tokens=sum(len(request.ids) for request in requests.values()),
            completion_tokens=sum(len(generation.ids) for generation in generations),
            seconds=time.perf_counter() - started,
        )
        texts = {
            index: self._codec.decode(generation.ids) for index, generation in zip(requests, generations, strict=True)
        }
        return [texts.get(index, "") for index in range(len(prompts))]


class EndpointGenerator:
    """A model on an OpenAI-compatible server as a ``Generator``; it goes on with texts, so that steps can be rewritten.

    Args:
        endpoint: The server.
        config: How solutions are sampled, and the model's name.
        max_context: Tokens of prompt and solution together, by the policy's tokenizer.
        codec: The policy's: prompts are sent as its texts.

    Raises:
        ValueError: the recipe names no endpoint.
    """

    def __init__(
        self, endpoint: AsyncJsonEndpoint, config: TirgenConfig, max_context: int, codec: TokenizerCodec
    ) -> None:
        if config.generator.endpoint is None:
            raise ValueError("tirgen.generator names no endpoint")
        self._endpoint = endpoint
        self._model = config.generator.endpoint.model
        self._config = config
        self._max_context = max_context
        self._codec = codec
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """What it has consumed so far."""
        return self._usage

    async def sample(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """One continuation of each prompt; see ``Generator``."""
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(self._complete(prompt, derive_seed(seed, "text", index)))
                for index, prompt in enumerate(prompts)
            ]
        return [task.result() for task in asked]

    async def _complete(self, prompt: Prompt, seed: int) -> str:
        budget = token_budget(self._config, self._max_context, len(prompt))
        if budget <= 0:
            return ""
        generator = self._config.generator
        sampling = ChatSampling(self._config.temperature, generator.top_p, generator.top_k, budget)
        body = {"model": self._model, "prompt": self._codec.spell(prompt), **sampling.body(seed)}
        started = time.perf_counter()
        reply: ChatReply = read_completion(await self._endpoint.post("/completions", body))
        self._usage += reply.usage + Usage(seconds=time.perf_counter() - started)
        return reply.text


async def ask_actor(actor: Any, requests: Sequence[GenerationRequest]) -> list[Generation]:
    """What a rollout actor makes of requests.

    Raises:
        WorkerError: it gives no answer.
    """
    try:
        async with asyncio.timeout(CALL_SECONDS):
            generations: list[Generation] = await actor.generate.remote(requests)
            return generations
    except TimeoutError as error:
        raise WorkerError(f"a rollout actor gave no answer for {CALL_SECONDS:g} s: it hangs") from error


def token_budget(config: TirgenConfig, max_context: int, prompt_tokens: int) -> int:
    """Tokens that a generator may write behind a prompt; none, or fewer, where there is no room."""
    room = max_context - prompt_tokens
    limit = config.generator.solution_tokens
    return room if limit is None else min(limit, room)


def make_cutter(config: TirgenConfig, policy_template: str, codec: Codec) -> FragmentCutter:
    """How the recipe cuts solutions: into lines for the symbolic refiner, which reads no more, else into fragments."""
    thinking = PROMPT_TEMPLATES[config.generator.template_for(policy_template)].thinking
    minimum = config.generator.fragment_minimum(config.step_tokens, thinking=thinking)
    rules = CutRules(config.step_tokens, minimum, thinking)
    return FragmentCutter(codec.encode, codec.decode, rules, by_lines=config.refiner.kind == "symbolic")
