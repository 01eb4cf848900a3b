"""Generator, refiner and their rewriter as a recipe asks for them (``tirgen.generator.kind``, ``tirgen.refiner.kind``)."""

import os
import time
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final, TypeVar

from actors.codec import TokenizerCodec
from actors.execution import to_execution_result
from actors.generation import GenerationRequest, StopCause
from actors.scorers import CodeRunner, Grader
from thor_ray.async_endpoints import AsyncJsonEndpoint
from thor_ray.config import Recipe
from thor_ray.config.endpoint import EndpointConfig
from thor_ray.endpoints import EndpointError, EndpointRefusedError, JsonEndpoint
from thor_ray.preflight import Fault
from thor_ray.refine import LLMRefiner, Refiner, SymbolicRefiner
from thor_ray.refine.chat import ChatModel, ChatReply, ChatSampling, EndpointChatModel, Message
from thor_ray.refine.language_model import Execute
from thor_ray.refine.prompt_set import load_prompts
from thor_ray.refine.revision_checks import RevisionChecks
from thor_ray.retries import RetryPolicy
from thor_ray.stages.generators import EndpointGenerator, FleetGenerator, ask_actor, make_cutter
from thor_ray.stages.rewriting import Rewriter
from thor_ray.stages.workers import Workers
from thor_ray.tirgen.generation import Generator
from thor_ray.trajectory import ExecutionResult
from thor_ray.usage import Usage

T = TypeVar("T")

API_KEY: Final = "THOR_API_KEY"
PROBE_SECONDS: Final = 10.0


class FleetChatModel:
    """The policy on its rollout actors as a ``ChatModel``.

    Args:
        actors: Handles of rollout actors, asked in turn.
        codec: The policy's.
        sampling: How replies are sampled.
        max_context: Tokens of conversation and reply; a conversation that leaves no room is answered with nothing, unfinished.
    """

    def __init__(self, actors: Sequence[Any], codec: TokenizerCodec, sampling: ChatSampling, max_context: int) -> None:
        self._actors = cycle(actors)
        self._codec = codec
        self._sampling = sampling
        self._max_context = max_context

    async def reply(self, conversation: Sequence[Message], seed: int) -> ChatReply:
        """The assistant's next turn; see ``ChatModel``."""
        ids = self._codec.encode_conversation([(message.role, message.content) for message in conversation])
        budget = min(self._sampling.max_tokens, self._max_context - len(ids))
        if budget <= 0:
            return ChatReply("", False, Usage())
        sampling = self._sampling
        request = GenerationRequest(
            tuple(ids), budget, sampling.temperature, sampling.top_p, sampling.top_k, seed=seed % 2**63
        )
        started = time.perf_counter()
        (generation,) = await ask_actor(next(self._actors), [request])
        usage = Usage(1, len(ids), len(generation.ids), time.perf_counter() - started)
        return ChatReply(self._codec.decode(generation.ids), generation.cause is StopCause.EOS, usage)


@dataclass(frozen=True, slots=True)
class TirgenModels:
    """What the recipe's section ``tirgen`` asks for.

    Attributes:
        generator: Writes solutions.
        rewriter: Rewrites them with the recipe's refiner.
        endpoints: Servers that they ask.
    """

    generator: Generator
    rewriter: Rewriter
    endpoints: tuple[AsyncJsonEndpoint, ...]

    async def finishing(self, work: Awaitable[T]) -> T:
        """Waits for ``work``, and closes the connections to servers behind it."""
        try:
            return await work
        finally:
            for endpoint in self.endpoints:
                await endpoint.aclose()


def tirgen_models(workers: Workers, recipe: Recipe, code_runner: CodeRunner, grader: Grader) -> TirgenModels:
    """Makes them on what is up already.

    Args:
        workers: Their engines serve the policy.
        recipe: Sections ``tirgen``, ``policy`` and ``sandbox``.
        code_runner: The sandbox.
        grader: Judges answers.
    """
    config, codec, max_context = recipe.tirgen, workers.codec, recipe.policy.max_context
    endpoints: list[AsyncJsonEndpoint] = []
    if config.generator.endpoint is None:
        generator: Generator = FleetGenerator(workers.fleet.actors, config, max_context, codec)
    else:
        endpoints.append(open_endpoint(config.generator.endpoint))
        generator = EndpointGenerator(endpoints[-1], config, max_context, codec)
    execute = _executing(code_runner, recipe.sandbox.timeout_seconds)
    refiner: Refiner
    amid = None
    if config.refiner.kind == "symbolic":
        refiner = SymbolicRefiner(config.flawed_first, config.flawed_again)
    else:
        if config.refiner.endpoint is None:
            model: ChatModel = FleetChatModel(workers.fleet.actors, codec, refiner_sampling(recipe), max_context)
        else:
            endpoints.append(open_endpoint(config.refiner.endpoint))
            name, extra = config.refiner.endpoint.model, config.refiner.extra
            model = EndpointChatModel(endpoints[-1], name, refiner_sampling(recipe), extra)
        refiner = llm_refiner(recipe, model, execute)
        amid = None if config.refiner.steps_view == "isolated" else refiner.amid
    rewriter = Rewriter(
        refiner=refiner,
        code_runner=code_runner,
        grader=grader,
        codec=codec,
        end_of_sequence=codec.end_of_sequence,
        template=recipe.policy.template,
        program_seconds=recipe.sandbox.timeout_seconds,
        cut=make_cutter(config, recipe.policy.template, codec),
        generator=generator if config.generator.continues else None,
        generator_template=config.generator.template_for(recipe.policy.template),
        refiner_amid=amid,
    )
    return TirgenModels(generator, rewriter, tuple(endpoints))


def llm_refiner(recipe: Recipe, model: ChatModel, execute: Execute) -> LLMRefiner:
    """The recipe's refiner on a language model."""
    config = recipe.tirgen.refiner
    checks = RevisionChecks(**config.checks.model_dump())
    return LLMRefiner(model, execute, load_prompts(config.prompt), checks, config.steps_view, config.rounds)


def refiner_sampling(recipe: Recipe) -> ChatSampling:
    """How the recipe's refiner is sampled; a revision is longer than its step, by programs and outputs."""
    config = recipe.tirgen.refiner
    tokens = config.reply_tokens or 2 * recipe.tirgen.step_tokens
    return ChatSampling(config.temperature, config.top_p, config.top_k, tokens)


def open_endpoint(config: EndpointConfig) -> AsyncJsonEndpoint:
    """The server of a recipe; connections are opened when they are needed."""
    return AsyncJsonEndpoint(
        config.url,
        os.environ.get(API_KEY),
        config.timeout_seconds,
        RetryPolicy(config.tries, config.first_wait_seconds, config.longest_wait_seconds),
        config.concurrency,
        config.give_up_after,
    )


def endpoint_faults(recipe: Recipe) -> Iterator[Fault]:
    """Servers of the recipe's section ``tirgen`` that do not answer, or do not serve the model that is asked for."""
    for where, config in (("generator", recipe.tirgen.generator), ("refiner", recipe.tirgen.refiner)):
        if config.endpoint is not None:
            yield from _faults_of(f"tirgen.{where}.endpoint", config.endpoint)


def _faults_of(where: str, config: EndpointConfig) -> Iterator[Fault]:
    url = config.url.rstrip("/")
    try:
        answer = JsonEndpoint(url, os.environ.get(API_KEY), PROBE_SECONDS, tries=1).get(f"{url}/models")
        served = [str(model["id"]) for model in answer["data"]]
    except EndpointRefusedError as error:
        yield Fault(f"{where}: {error.message}", error.remedy or "correct the address: it usually ends with /v1")
    except EndpointError as error:
        yield Fault(f"{where}: {error.message}", error.remedy)
    except (KeyError, TypeError) as error:
        yield Fault(f"{where}: {url}/models lists no models ({error!r})", "is this an OpenAI-compatible server?")
    else:
        if config.model not in served:
            names = ", ".join(served) or "nothing"
            yield Fault(f"{where}: {url} serves {names}, not {config.model}", f"set {where}.model to one of these")


def _executing(code_runner: CodeRunner, program_seconds: float) -> Execute:
    async def execute(code: str, seed: int) -> ExecutionResult:
        ran = await code_runner.arun(code, timeout=program_seconds, seed=seed % 2**32)
        return to_execution_result(ran, program_seconds)

    return execute
