"""Refiner and generator on real language models: vLLM's OpenAI server over HTTP, and the policy on a rollout actor.

The tiny policy cannot revise anything; what is looked at is that each reply arrives, is counted, and ends under a name.
"""

import asyncio
from dataclasses import replace

import pytest

from actors.codec import TokenizerCodec
from actors.execution import to_execution_result
from sandbox import Sandbox
from tests.support.vllm_server import vllm_server
from thor_ray.config import Recipe, validate_recipe
from thor_ray.refine import LLMRefiner, Verdict
from thor_ray.refine.chat import ChatSampling, EndpointChatModel
from thor_ray.refine.prompt_set import PromptSet, load_prompts
from thor_ray.refine.revision_checks import RevisionChecks
from thor_ray.stages.generators import EndpointGenerator
from thor_ray.stages.tirgen_models import FleetChatModel, endpoint_faults, open_endpoint
from thor_ray.tiny import base_model_path
from thor_ray.trajectory import ExecutionResult

STEP = "There are 12 rows of 7 seats, so there are 12 * 7 = 84 seats."
OF_A_REPLY = {Verdict.NO_CODE, Verdict.MALFORMED, Verdict.ENDLESS}


def recipe_for(url: str, model: str = "tiny") -> Recipe:
    endpoint = {"url": url, "model": model, "tries": 1}
    parts = {"kind": "endpoint", "endpoint": endpoint}
    return validate_recipe(
        {"tirgen": {"generator": {**parts, "solution_tokens": 24}, "refiner": {**parts, "reply_tokens": 24}}}, "test"
    )


async def never_runs(code: str, seed: int) -> ExecutionResult:
    raise AssertionError(f"the tiny policy wrote a program: {code}")


@pytest.mark.slow
def test_generator_and_refiner_speak_to_vllms_openai_server(tmp_path):
    codec = TokenizerCodec.from_directory(str(base_model_path()))
    prompts = [codec.encode_prompt("bare", f"What is the gcd of {first} and 60?") for first in (96, 45)]

    async def speak(recipe: Recipe) -> None:
        config = recipe.tirgen
        assert config.generator.endpoint is not None
        endpoint = open_endpoint(config.generator.endpoint)
        generator = EndpointGenerator(endpoint, config, 512, codec)
        texts = await generator.sample(prompts, seed=1)
        assert len(texts) == 2
        assert all(texts)
        assert texts == await generator.sample(prompts, seed=1), "the server keeps to seeds"
        assert generator.usage.calls == 4
        assert generator.usage.prompt_tokens == 2 * sum(map(len, prompts)), "it reads the prompt's own tokens"
        assert 0 < generator.usage.completion_tokens <= 4 * 24
        assert (await generator.sample([[1] * 512], seed=1)) == [""], "no room is no request"
        model = EndpointChatModel(endpoint, "tiny", ChatSampling(max_tokens=24))
        refiner = LLMRefiner(model, never_runs, load_prompts("v1"), RevisionChecks())
        refined = await refiner.refine(STEP, seed=5)
        assert refined.verdict in OF_A_REPLY, refined.reason
        assert refined.reasoning == STEP
        assert refined.usage.calls == 1
        assert refined.usage.prompt_tokens > len(codec.encode(load_prompts("v1").system))
        assert 0 < refined.usage.completion_tokens <= 24
        elsewhere = replace(refiner, model=replace(model, model="another"))
        missing = await elsewhere.refine(STEP, seed=5)
        assert (missing.verdict, missing.reasoning) == (Verdict.REFUSED, STEP)
        assert "404" in missing.reason
        await endpoint.aclose()

    with vllm_server(base_model_path(), "tiny", tmp_path / "server.log") as url:
        assert list(endpoint_faults(recipe_for(url))) == []
        faults = list(endpoint_faults(recipe_for(url, "Qwen3-32B")))
        assert [fault.message for fault in faults] == [
            f"tirgen.{where}.endpoint: {url} serves tiny, not Qwen3-32B" for where in ("generator", "refiner")
        ]
        asyncio.run(speak(recipe_for(url)))
    stopped = list(endpoint_faults(recipe_for(url)))
    assert all("cannot be reached" in fault.message for fault in stopped)
    assert len(stopped) == 2


def test_the_refiner_asks_the_policy_on_its_rollout_actor(rollout_actor, tiny_policies):
    codec = TokenizerCodec.from_directory(str(tiny_policies.taught))
    short = PromptSet("short", {"system": "Revise.", "isolated": "{step}"})
    with Sandbox(workers=1, preload=()) as sandbox:

        async def execute(code: str, seed: int) -> ExecutionResult:
            return to_execution_result(await sandbox.arun(code, timeout=5.0), 5.0)

        def refiner(prompts: PromptSet) -> LLMRefiner:
            model = FleetChatModel([rollout_actor], codec, ChatSampling(max_tokens=40), 512)
            return LLMRefiner(model, execute, prompts, RevisionChecks())

        first, again = (asyncio.run(refiner(short).refine(STEP, seed=2)) for _ in range(2))
        too_long = asyncio.run(refiner(load_prompts("v1")).refine(STEP * 20, seed=2))
    assert first.verdict in OF_A_REPLY
    assert (first.verdict, first.usage.completion_tokens) == (again.verdict, again.usage.completion_tokens)
    assert 0 < first.usage.completion_tokens <= 40
    assert first.usage.prompt_tokens > 0
    assert (too_long.verdict, too_long.usage.calls) == (Verdict.ENDLESS, 0)
