"""What an engine has computed once it does not compute again: after a failed step, for branches, for siblings.

The engine, its cache, the sandbox and the trajectories are real. Only the words are dictated, since a tiny policy says
little, and reuse goes by whole blocks of tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import ray

from thor_ray.trajectory import Group, Trajectory

pytestmark = [pytest.mark.slow]

BLOCK = 32
"""Tokens of one block of the cache on a CPU."""

ATTEMPTS = 3


@dataclass(frozen=True)
class Played:
    """What was sampled, and of each request for tokens (tokens conditioned on, those of them reused)."""

    trajectory: Trajectory
    corrected: list[tuple[int, int]]
    branches: Group
    branched: list[tuple[int, int]]


@ray.remote(num_cpus=1)
def play(model: str) -> Played:
    """A solution whose first program fails three times, and four branches from its failed second step."""
    import asyncio

    import sandbox
    from actors.codec import TokenizerCodec
    from actors.engine import EngineSettings, VllmEngine
    from actors.generation import Generation, GenerationRequest, Interruption, OnTokens
    from actors.sampler import RolloutSettings, TrajectorySampler
    from actors.scripted import play_script
    from thor_ray.config import CorrectionConfig, SamplingConfig
    from thor_ray.dialogue import render_action
    from thor_ray.grading import GraderPool
    from thor_ray.problems import Problem

    class Dictated:
        """A real engine that computes every request, and then says what it is told to."""

        def __init__(self, engine: VllmEngine, codec: TokenizerCodec, words: Iterator[int]) -> None:
            self.engine, self.codec, self.words = engine, codec, words
            self.requests: list[tuple[int, int]] = []

        async def generate(
            self,
            request: GenerationRequest,
            on_tokens: OnTokens | None = None,
            interruption: Interruption | None = None,
        ) -> Generation:
            computed = await self.engine.generate(replace(request, max_new_tokens=1, stop=()), on_tokens, interruption)
            self.requests.append((len(request.ids), computed.cached_tokens))
            end = self.codec.end_of_sequence
            said = play_script(self.words, request.stop, request.max_new_tokens, self.codec, end)
            return replace(said, cached_tokens=computed.cached_tokens)

    codec = TokenizerCodec.from_directory(model)

    def words(*texts: str) -> Iterator[int]:
        return iter([*(token for text in texts for token in codec.encode(text)), codec.end_of_sequence])

    thought = "Let us add them.\n" * 20
    settings = RolloutSettings(SamplingConfig(max_new_tokens=900), "bare", max_context=1000)
    correction = CorrectionConfig(attempts=ATTEMPTS, suffix_tokens=3)
    problem = Problem("p", "What is 3 + 4?", "7", "test")
    engine = VllmEngine(EngineSettings(model, max_context=1000, kv_cache_mib=64))
    with sandbox.Sandbox(workers=1, preload=()) as box, GraderPool() as grader:

        async def both() -> Played:
            failing = [render_action(f"print(x{attempt})") for attempt in range(ATTEMPTS)]
            # The second step fails once more than it is corrected, so that there is one to branch off from.
            lost = [render_action("print(y)")] * (ATTEMPTS + 1)
            told = words(thought, *failing, render_action("print(3 + 4)"), thought, *lost, "So.")
            dictated: Any = Dictated(engine, codec, told)
            sampler = TrajectorySampler(dictated, codec, box, grader)
            correcting = replace(settings, correction=correction)
            group = await sampler.sample_group(problem, group_size=1, settings=correcting, seed=0, uid="g")
            asked, dictated.requests = dictated.requests, []
            (parent,) = group.trajectories
            dictated.words = words(*[render_action("print(3 + 4)")] * 4)
            failed = next(n for n, step in enumerate(parent.steps) if step.result.status.failed)
            branches = await sampler.sample_step_group(
                parent, failed, suffix_tokens=3, group_size=4, settings=settings, seed=0, uid="s"
            )
            return Played(parent, asked, branches, dictated.requests)

        played = asyncio.run(both())
    engine.close()
    return played


@pytest.fixture(scope="module")
def played(ray_cluster: Any, tiny_policies: Any) -> Played:
    result: Played = ray.get(play.remote(str(tiny_policies.taught)), timeout=240)
    return result


def test_an_attempt_after_a_failure_reuses_the_prefix_of_its_step(played: Played) -> None:
    cuts = [attempt.cut for attempt in played.trajectory.discarded if attempt.step_index == 0]
    assert len(cuts) == ATTEMPTS
    retries = [(length, cached) for length, cached in played.corrected if length == cuts[0]]
    assert len(retries) == ATTEMPTS
    for length, cached in retries:
        assert length - cached <= 2 * BLOCK, "all whole blocks of the prefix, but for the one being written"
        assert cached / length > 0.7
    first_length, first_cached = played.corrected[0]
    assert first_cached == 0 < first_length, "nothing was there before"


def test_branches_of_a_failed_step_reuse_what_their_parent_left(played: Played) -> None:
    assert len(played.branches.trajectories) == 4
    for branch in played.branches.trajectories:
        assert branch.parent is not None
        assert branch.parent.cut == branch.first_sampled
        assert branch.cost.cached_share is not None
        assert branch.cost.cached_share > 0.8
        assert min(cached for length, cached in played.branched) >= branch.parent.cut - 2 * BLOCK


def test_a_trajectory_tells_what_its_requests_did(played: Played) -> None:
    cost = played.trajectory.cost
    assert cost.prompt_tokens == sum(length for length, _ in played.corrected)
    assert cost.cached_tokens == sum(cached for _, cached in played.corrected)
    assert cost.cached_share is not None
    assert cost.cached_share > 0.7
