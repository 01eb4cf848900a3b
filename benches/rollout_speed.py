"""How fast trajectories with tools are sampled: in lock step against one state machine each, side by side.

    python benches/rollout_speed.py [--trajectories 64] [--turns 3] [--rounds 3] [--json FILE]

One vLLM engine with the shipped tiny policy serves all rows in turn. Each trajectory calls a tool `--turns` times and
then answers. How many tokens each of its pieces has is drawn once (log-normal, mean 24 a thought), and so is how long
each call of the tool takes; both are the same for all rows. `lock step`: all trajectories generate until all have stopped,
all call the tool until the slowest call is back, and all go on, as batch-synchronous rollouts do. `ours` is the rollout
actor's `TrajectorySampler`, with as many trajectories at a time. `plain` asks the engine for the same number of tokens
for each of the same prompts in one request, without turns or tools: what it can do at best.

So that the workload is the same, the plan says where a piece ends: the engine computes every token, and the last ones
of a thought are replaced by an opening fence, those of an action by a program. Prefixes are reused as far as they are the
engine's own. The tool waits instead of computing. Grading is left out of all rows. Medians of all rounds count.
"""

import argparse
import asyncio
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from actors.codec import TokenizerCodec
from actors.engine import EngineSettings, VllmEngine
from actors.episode import ACTION_STOP, Episode, Execute, Finished, Generate
from actors.execution import to_execution_result
from actors.generation import Generation, GenerationRequest, Interruption, OnTokens
from actors.sampler import RolloutSettings, TrajectorySampler
from actors.scorers import ScoringTools
from actors.scripted import play_script
from sandbox import Result, Status
from thor_ray.config import SamplingConfig
from thor_ray.dialogue import ACTION_OPEN, opening_fence_length, render_action
from thor_ray.grading import EXACT, Grade, GradeStatus, GradingPolicy
from thor_ray.problems.problem import Problem
from thor_ray.tiny import base_model_path
from thor_ray.trajectory import Trajectory, TrajectoryBuilder

SETTINGS = RolloutSettings(SamplingConfig(max_rounds=8, max_new_tokens=400), "bare", max_context=512)
SEED = 0

Latency = Callable[[random.Random], float]
LATENCIES: dict[str, Latency] = {
    "0": lambda generator: 0.0,
    "50 ms": lambda generator: 0.05,
    # Half of all calls take less than 50 ms, one in a hundred more than 2 s.
    "log-normal, p99 2 s": lambda generator: generator.lognormvariate(math.log(0.05), math.log(40) / 2.326),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One trajectory of the workload.

    Attributes:
        question: Of its problem; names it.
        prompt: Its ids.
        played: What it samples, request by request.
        latencies: Of its calls of the tool, seconds.
    """

    question: str
    prompt: tuple[int, ...]
    played: tuple[Generation, ...]
    latencies: tuple[float, ...]

    @property
    def tokens(self) -> int:
        return sum(len(each.ids) for each in self.played)


class PacedEngine:
    """The real engine, whose pieces end where the plan says."""

    def __init__(self, engine: VllmEngine, codec: TokenizerCodec, plans: Sequence[Plan]) -> None:
        self._engine = engine
        self._codec = codec
        self._played = {plan.prompt: iter(plan.played) for plan in plans}
        self._lengths = {len(plan.prompt) for plan in plans}
        self.probe_log_probs, self.update_weights, self.close = (
            engine.probe_log_probs,
            engine.update_weights,
            engine.close,
        )

    @property
    def version(self) -> int:
        return self._engine.version

    async def generate(
        self,
        request: GenerationRequest,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Generation:
        ids = tuple(request.ids)
        played = next(next(self._played[ids[:each]] for each in self._lengths if ids[:each] in self._played))
        sampled = await self._engine.generate(GenerationRequest(ids, len(played.ids), seed=request.seed))
        # All of an action, the fence of a thought, the end of an answer.
        fence = opening_fence_length(played.ids, self._codec.decode)
        own = 0 if ACTION_STOP in request.stop else len(played.ids) - max(1, fence)
        return replace(played, ids=sampled.ids[:own] + played.ids[own:], cached_tokens=sampled.cached_tokens)


class SlowTool:
    """Answers each call after the plan's time; calls of one trajectory come one after the other."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._latencies = {plan.question: iter(plan.latencies) for plan in plans}

    async def arun(self, code: str, *, timeout: float | None = None, seed: int | None = None) -> Result:  # noqa: ASYNC109
        started = time.perf_counter()
        await asyncio.sleep(next(self._latencies[code.removeprefix("print(").removesuffix(")")]))
        return _printed("1", (time.perf_counter() - started) * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-sequences", type=int, default=64, help="that the engine decodes side by side")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.trajectories, options.turns, options.rounds, options.max_sequences))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


async def measure(trajectories: int, turns: int, rounds: int, max_sequences: int) -> list[dict[str, Any]]:
    """Runs and prints all rows."""
    path = str(base_model_path())
    codec = TokenizerCodec.from_directory(path)
    engine = VllmEngine(EngineSettings(model=path, max_sequences=max_sequences))
    # The workload decides where a piece ends, not what the policy happens to sample.
    engine._sampling_params = partial(engine._sampling_params, ignore_eos=True)  # noqa: SLF001
    ways = {"plain": plain, "lock step": lock_step, "ours": ours}
    rows = []
    try:
        for name, latency in LATENCIES.items():
            plans = make_plans(codec, trajectories, turns, latency)
            times: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(rounds + 1):
                for way, run in ways.items():
                    started = time.perf_counter()
                    await run(engine, codec, plans)
                    if number:
                        times[way].append(time.perf_counter() - started)
            rows.append(report(name, plans, {way: median(seconds) for way, seconds in times.items()}))
    finally:
        engine.close()
    return rows


def report(name: str, plans: Sequence[Plan], seconds: dict[str, float]) -> dict[str, Any]:
    """Prints and returns the figures of one latency."""
    tokens = sum(plan.tokens for plan in plans)
    slowest = max(sum(plan.latencies) for plan in plans)
    print(
        f"tool {name}: {len(plans)} trajectories, {tokens} tokens, slowest trajectory waits {slowest:.2f} s for its tool"
    )
    for way, each in seconds.items():
        print(f"    {way:10} {each:7.2f} s {tokens / each:8.0f} tokens/s")
    faster, of_plain = seconds["lock step"] / seconds["ours"], seconds["plain"] / seconds["ours"]
    print(f"    ours is {faster:.2f} x lock step, and reaches {of_plain:.0%} of plain generation", flush=True)
    return {"tool": name, "tokens": tokens, "seconds": seconds, "speedup": faster, "of_plain": of_plain}


def make_plans(codec: TokenizerCodec, trajectories: int, turns: int, latency: Latency) -> list[Plan]:
    """The workload, the same for the same arguments."""
    lengths, delays = random.Random(SEED), random.Random(SEED + 1)
    plans = []
    for index in range(trajectories):
        question = str(1000 + index)
        text = ""
        for _ in range(turns):
            thought = " so" * max(1, round(lengths.lognormvariate(math.log(24) - 0.32, 0.8)))
            text += f"{thought}\n{render_action(f'print({question})')}\n"
        end = codec.end_of_sequence
        ids = itertools.chain(codec.encode(text), codec.encode(" so it is 1."), [end])
        stops = [*([ACTION_OPEN, ACTION_STOP] * turns), ACTION_OPEN]
        played = tuple(play_script(ids, [stop], 400, codec, end) for stop in stops)
        prompt = tuple(codec.encode_prompt(SETTINGS.template, question))
        plans.append(Plan(question, prompt, played, tuple(latency(delays) for _ in range(turns))))
    return plans


async def plain(engine: VllmEngine, codec: TokenizerCodec, plans: Sequence[Plan]) -> None:
    """One request for all tokens of a trajectory."""
    await asyncio.gather(*(engine.generate(GenerationRequest(plan.prompt, plan.tokens, seed=SEED)) for plan in plans))


async def ours(engine: VllmEngine, codec: TokenizerCodec, plans: Sequence[Plan]) -> None:
    """The sampler of a rollout actor."""
    sampler = TrajectorySampler(PacedEngine(engine, codec, plans), codec, SlowTool(plans), _NoGrader())
    problems = [Problem(plan.question, plan.question, "1", "bench") for plan in plans]
    scored = await asyncio.gather(
        *(
            sampler.sample_scored(problem, scorer=_ungraded, settings=SETTINGS, seed=SEED, trajectory_id=problem.id)
            for problem in problems
        )
    )
    check([each.trajectory for each in scored], plans)


async def lock_step(engine: VllmEngine, codec: TokenizerCodec, plans: Sequence[Plan]) -> None:
    """All generate, all execute, all go on."""
    paced, tool = PacedEngine(engine, codec, plans), SlowTool(plans)
    episodes = [
        Episode(TrajectoryBuilder(plan.question, plan.question, list(plan.prompt)), codec, SETTINGS.limits())
        for plan in plans
    ]

    async def generate(episode: Episode) -> None:
        while isinstance(asked := episode.next(), Generate):
            request = GenerationRequest(asked.ids, asked.max_new_tokens, stop=(asked.stop,), seed=SEED)
            episode.on_generation(await paced.generate(request))

    async def execute(episode: Episode) -> None:
        if isinstance(asked := episode.next(), Execute):
            episode.on_execution(to_execution_result(await tool.arun(asked.code), 5.0))

    while any(not isinstance(episode.next(), Finished) for episode in episodes):
        await asyncio.gather(*(generate(episode) for episode in episodes))
        await asyncio.gather(*(execute(episode) for episode in episodes))
    finished = [(episode, episode.next()) for episode in episodes]
    check([each.builder.finish(end.reason) for each, end in finished if isinstance(end, Finished)], plans)


def check(trajectories: Sequence[Trajectory], plans: Sequence[Plan]) -> None:
    """Each way did the whole workload."""
    sampled = sum(int(trajectory.loss_mask().sum()) for trajectory in trajectories)
    steps = sum(len(trajectory.steps) for trajectory in trajectories)
    assert sampled == sum(plan.tokens for plan in plans), "another number of tokens"
    assert steps == sum(len(plan.latencies) for plan in plans), "another number of tool calls"


class _NoGrader:
    async def agrade(self, response: str, gold: str, policy: GradingPolicy = EXACT) -> Grade:
        raise AssertionError("grading is left out")


async def _ungraded(trajectory: Trajectory, tools: ScoringTools) -> Grade:
    return Grade(GradeStatus.NO_BOX, "left out", "extraction", None, 0.0)


def _printed(text: str, milliseconds: float) -> Result:
    return Result(
        Status.OK, text, "", False, None, None, "", 0, None, milliseconds, 0.0, 0.0, 0, 0.0, {}, {}, None, 0, 1
    )


if __name__ == "__main__":
    main()
