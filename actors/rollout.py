"""The Ray actor that makes trajectories: an engine, a sandbox and a grader of its own, all on one node.

No Ray call is made per tool call or per token: a group is one call and comes out as one object, a family as two.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from actors.branching import Branching
from actors.codec import TokenizerCodec
from actors.engine import EngineSettings, VllmEngine
from actors.execution import make_sandbox
from actors.families import FamilySampler
from actors.family_tokens import Family, Outline, join, part
from actors.generation import EngineError, Generation, GenerationRequest, TurnError
from actors.going_on import is_suspended
from actors.live import LiveEvent
from actors.sampler import RolloutSettings, TrajectorySampler
from actors.scorers import Scored, Scorer
from thor_ray.config import FilterConfig, Recipe, SamplingConfig
from thor_ray.grading import GraderPool
from thor_ray.problems.problem import Problem
from thor_ray.selection import rejected_trajectories, reward_missing_actions
from thor_ray.stream import EnginePressure
from thor_ray.trajectory import Group, PackedTokens, Trajectory
from thor_ray.weights import Delivery, WeightReceipt

CALL_SECONDS: Final = 600.0
"""Deadline of calls that are not made of many trajectories, each of which has deadlines of its own."""


class RolloutActor:
    """Serves one version of the policy and samples groups with it.

    A plain class; `actors.placement` makes a Ray actor of it. All its methods are coroutines that run side by side,
    so that many groups are in flight at a time. Construction blocks until engine and sandbox are up.

    Args:
        recipe: Sections ``policy``, ``engine``, ``placement`` and ``sandbox`` are used.
        model: Hugging Face directory of the policy.
        version: Of the weights there.
        awaits_weights: Whether the learner has others by now: prompts are refused until these have come.
    """

    def __init__(self, recipe: Recipe, model: str, version: int = 0, *, awaits_weights: bool = False) -> None:
        # First what is cheap and likely to be refused; the engine takes seconds.
        self._sandbox = make_sandbox(recipe.sandbox).start()
        self._grader = GraderPool()
        self._engine = VllmEngine(
            EngineSettings(
                model=model,
                dtype=recipe.policy.dtype,
                max_context=recipe.policy.max_context,
                max_sequences=recipe.engine.max_sequences,
                kv_cache_mib=recipe.engine.kv_cache_mib,
                gpu_memory_utilization=recipe.engine.gpu_memory_utilization,
                tensor_parallel=recipe.engine.tensor_parallel,
                seed=recipe.seed,
                version=version,
                awaits_weights=awaits_weights,
                shares_gpu=recipe.placement.mode == "colocated",
            )
        )
        codec = TokenizerCodec.from_directory(model)
        self._liveness_prompt = tuple(codec.encode("1"))
        self._decode = codec.decode
        self._sampler = TrajectorySampler(self._engine, codec, self._sandbox, self._grader)
        self._families = FamilySampler(self._sampler)
        self._calls_in_flight = 0

    async def ready(self) -> int:
        """The version served, once a real token has been generated; see `VllmEngine.prove_life`."""
        async with _deadline("generating one token"):
            await self._engine.prove_life(self._liveness_prompt)
        return self._engine.version

    async def rollout_group(
        self, problem: Problem, group_size: int, settings: RolloutSettings, seed: int, uid: str
    ) -> Group:
        """Samples and grades siblings of one problem; see `TrajectorySampler.sample_group`."""
        with self._in_flight():
            return await self._sampler.sample_group(
                problem, group_size=group_size, settings=settings, seed=seed, uid=uid
            )

    async def rollout_sample(
        self, problem: Problem, scorer: Scorer, settings: RolloutSettings, seed: int, trajectory_id: str
    ) -> Scored:
        """Samples one trajectory and judges it; see `TrajectorySampler.sample_scored`."""
        with self._in_flight():
            return await self._sampler.sample_scored(
                problem, scorer=scorer, settings=settings, seed=seed, trajectory_id=trajectory_id
            )

    async def watch_solution(
        self, problem: Problem, settings: RolloutSettings, seed: int, uid: str
    ) -> AsyncIterator[LiveEvent]:
        """Samples one trajectory and tells what happens; see `TrajectorySampler.watch_solution`."""
        with self._in_flight():
            async for event in self._sampler.watch_solution(problem, settings=settings, seed=seed, uid=uid):
                yield event

    async def continue_step(
        self,
        parent: Trajectory,
        step_index: int,
        suffix_tokens: int,
        group_size: int,
        settings: RolloutSettings,
        seed: int,
        uid: str,
    ) -> Group:
        """Samples continuations of a failed step's prefix; see `TrajectorySampler.sample_step_group`."""
        with self._in_flight():
            return await self._sampler.sample_step_group(
                parent,
                step_index,
                suffix_tokens=suffix_tokens,
                group_size=group_size,
                settings=settings,
                seed=seed,
                uid=uid,
            )

    async def sample_family(
        self,
        problem: Problem,
        group_size: int,
        branching: Branching | None,
        settings: RolloutSettings,
        seed: int,
        uid: str,
        filters: FilterConfig,
        no_action_reward: float | None = None,
        partial: Family = (),
        partial_tokens: PackedTokens | None = None,
    ) -> tuple[Outline, PackedTokens]:
        """Samples siblings and the step groups that branch off them; see `FamilySampler.sample`.

        Unlike all other calls it goes on while weights are updated: each token names the version that sampled it.

        Args:
            problem: What the siblings answer.
            group_size: How many they are.
            branching: When failed steps are resampled; ``None`` never does.
            settings: Of each trajectory.
            seed: All samples' seeds derive from it.
            uid: Of the family.
            filters: Rules on trajectories (spec D.3), looked at here, where the text is.
            no_action_reward: As of `reward_missing_actions`.
            partial: The family as it was suspended.
            partial_tokens: Its tokens: both are what was returned then.

        Returns:
            Two objects, for a caller that asks for ``num_returns=2`` and may leave the second where it is.
        """
        sampled = await self._families.sample(
            problem,
            group_size=group_size,
            branching=branching,
            settings=settings,
            seed=seed,
            uid=uid,
            partial=() if partial_tokens is None else join(partial, partial_tokens),
        )
        if any(map(is_suspended, sampled)):
            family, tokens = part(sampled)
            return Outline(family), tokens
        rewarded = reward_missing_actions(sampled, no_action_reward)
        family, tokens = part(rewarded)
        return Outline(family, rejected_trajectories(rewarded, filters, self._decode)), tokens

    async def suspend_family(self, uid: str) -> None:
        """Makes `sample_family` return early with what it has of a family; see `FamilySampler.suspend`."""
        self._families.suspend(uid)

    async def pressure(self) -> EnginePressure:
        """How full the engine is, and what it had to evict since it was asked last."""
        return self._engine.pressure()

    async def sample_text(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seed: int, stop: tuple[str, ...] = ()
    ) -> list[str]:
        """Continues prompts without tools; see `TrajectorySampler.sample_text`."""
        with self._in_flight():
            async with _deadline(f"continuing {len(prompts)} prompts"):
                return await self._sampler.sample_text(prompts, sampling=sampling, seed=seed, stop=stop)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Continues token sequences, each on its own terms, without tools; see `TrajectorySampler.generate`."""
        with self._in_flight():
            async with _deadline(f"continuing {len(requests)} prompts"):
                return await self._sampler.generate(requests)

    async def update_weights(self, delivery: Delivery) -> WeightReceipt:
        """Serves another version from now on. Nothing but families may be in flight, be it in engine, sandbox or grader.

        Args:
            delivery: What comes, and how; the learner sends it at the same time.

        Raises:
            EngineError: something is in flight all of whose tokens should come from one version.
            WeightTransferError: what arrived is not what was sent; the weights are undefined then.
        """
        if self._calls_in_flight:
            raise EngineError(f"weights cannot be updated while {self._calls_in_flight} calls are in flight")
        async with _deadline(f"receiving version {delivery.version} of the weights"):
            return await self._engine.update_weights(delivery)

    async def sleep(self) -> int:
        """Lends its GPU to the learner; see `VllmEngine.sleep`.

        Raises:
            TurnError: something is in flight, be it a family, or only in sandbox or grader.
        """
        if in_flight := self._calls_in_flight + self._families.in_flight:
            raise TurnError(f"an engine cannot sleep while {in_flight} calls are in flight")
        async with _deadline("falling asleep"):
            return await self._engine.sleep()

    async def wake_up(self) -> None:
        """Takes its GPU back, with the weights that it had; see `VllmEngine.wake_up`."""
        async with _deadline("waking up"):
            await self._engine.wake_up()

    async def probe(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probs of given tokens under the version served; see `Engine.probe_log_probs`."""
        async with _deadline(f"probing {len(sequences)} sequences"):
            return await self._engine.probe_log_probs(sequences)

    async def version(self) -> int:
        """Version of the weights that serve requests now."""
        return self._engine.version

    async def stats(self) -> dict[str, float]:
        """Running totals; see `SamplerStats`."""
        return self._sampler.stats.as_metrics()

    async def isolation(self) -> dict[str, Any]:
        """The confinement that programs run under."""
        return dataclasses.asdict(self._sandbox.isolation)

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        """Counts a call all of whose tokens come from one version, also while none of its requests is in the engine."""
        self._calls_in_flight += 1
        try:
            yield
        finally:
            self._calls_in_flight -= 1

    async def close(self) -> None:
        """Ends the engine, the sandbox's processes and the grader's; the actor can be killed afterwards."""
        await asyncio.to_thread(self._sandbox.close)
        await asyncio.to_thread(self._grader.close)
        self._engine.close()


@asynccontextmanager
async def _deadline(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except TimeoutError as error:
        raise EngineError(f"{what} took longer than {CALL_SECONDS:g} s: the engine hangs") from error
