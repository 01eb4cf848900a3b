"""Drives trajectory state machines: one coroutine each, no barrier between them (invariant 5).

While one trajectory's program runs, the others generate; a slow program delays nobody but its own trajectory. Every
wait has a deadline, and what a missed deadline means is decided here: a hung generation aborts the trajectory, a hung
execution or grading is our failure and gives no reward (invariant 4).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from actors.codec import Codec
from actors.episode import ACTION_STOP, Episode, EpisodeLimits, Execute, Finished, Generate, reasoning_text
from actors.execution import INFRA_TEXT, to_execution_result
from actors.generation import Engine, Generation, GenerationRequest, Interruption, OnTokens, StopCause, derive_seed
from actors.going_on import GoingOn
from actors.live import Done, Executed, LiveEvent, Sampled
from actors.scorers import AnswerScorer, CodeRunner, Grader, Scored, Scorer, ScoringTools
from thor_ray.config import CorrectionConfig, Recipe, SamplingConfig
from thor_ray.grading import Grade, GradeStatus, extract_boxed
from thor_ray.problems.problem import Problem
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    Trajectory,
    TrajectoryBuilder,
    backtrack_cut,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How trajectories are sampled.

    Attributes:
        sampling: Temperature, truncation and budgets.
        template: Prompt template, a key of `thor_ray.dialogue.PROMPT_TEMPLATES`.
        max_context: Tokens of prompt and response together.
        program_seconds: Wall time of one program.
        stop_at_failed_code: End a trajectory at its first failed block (training only).
        correction: Self-correction (evaluation only); ``None`` is off.
        deadline_seconds: Of each single wait for tokens, a program or a grade.
    """

    sampling: SamplingConfig
    template: str
    max_context: int
    program_seconds: float = 5.0
    stop_at_failed_code: bool = False
    correction: CorrectionConfig | None = None
    deadline_seconds: float = 300.0

    @classmethod
    def for_training(cls, recipe: Recipe) -> "RolloutSettings":
        """As the recipe's RL stage samples."""
        return cls(
            sampling=recipe.rl.sampling,
            template=recipe.policy.template,
            max_context=recipe.policy.max_context,
            program_seconds=recipe.sandbox.timeout_seconds,
            stop_at_failed_code=recipe.rl.stop_at_failed_code,
        )

    @classmethod
    def for_evaluation(cls, recipe: Recipe, self_correction: bool = False) -> "RolloutSettings":
        """As the recipe evaluates, with or without self-correction."""
        return cls(
            sampling=recipe.evaluation.sampling,
            template=recipe.policy.template,
            max_context=recipe.policy.max_context,
            program_seconds=recipe.sandbox.timeout_seconds,
            correction=recipe.evaluation.correction if self_correction else None,
        )

    def limits(self, single_step: bool = False) -> EpisodeLimits:
        """The budgets of one trajectory, or of one step-level continuation."""
        return EpisodeLimits(
            max_rounds=1 if single_step else self.sampling.max_rounds,
            max_new_tokens=self.sampling.max_new_tokens,
            max_context=self.max_context,
            stop_at_failed_code=self.stop_at_failed_code,
            single_step=single_step,
            correction=None if single_step else self.correction,
        )


@dataclass(slots=True)
class SamplerStats:
    """Running totals since the start. Tokens are of the engine, seconds of waiting, summed over trajectories."""

    trajectories: int = 0
    aborted: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    sandbox_calls: int = 0
    program_seconds: float = 0.0
    queue_seconds: float = 0.0
    infra_errors: int = 0
    grades: int = 0
    grader_failures: int = 0

    def as_metrics(self) -> dict[str, float]:
        """Totals by name, and the share of prompt tokens whose keys and values were reused."""
        return asdict(self) | {"cached_share": self.cached_tokens / max(1, self.prompt_tokens)}


class TrajectorySampler:
    """Samples groups of trajectories with one engine, one sandbox and one grader."""

    def __init__(self, engine: Engine, codec: Codec, code_runner: CodeRunner, grader: Grader) -> None:
        self.stats = SamplerStats()
        self._engine = engine
        self._codec = codec
        self._code_runner = code_runner
        self._scoring = ScoringTools(codec, grader, code_runner)

    async def sample_group(
        self,
        problem: Problem,
        *,
        group_size: int,
        settings: RolloutSettings,
        seed: int,
        uid: str,
        going_on: GoingOn | None = None,
    ) -> Group:
        """Samples ``group_size`` siblings of one problem and grades them: 1 for a right answer, 0 for any other.

        The reward is ``None`` where the grader failed or the trajectory was aborted or suspended.
        """
        prompt = self._codec.encode_prompt(settings.template, problem.question)
        scorer, going_on = AnswerScorer(problem.answer), going_on or GoingOn()

        async def sibling(index: int) -> Trajectory:
            if (known := going_on.done(index)) is not None:
                return known
            builder = TrajectoryBuilder(f"{uid}/{index}", problem.id, prompt)
            episode = going_on.episode(index, builder, self._codec, settings.limits())
            return (await self._play_and_score(episode, scorer, settings, seed, going_on)).trajectory

        siblings = await asyncio.gather(*map(sibling, range(group_size)))
        return Group(uid, GroupKind.EPISODE, problem.id, tuple(siblings))

    async def sample_scored(
        self, problem: Problem, *, scorer: Scorer, settings: RolloutSettings, seed: int, trajectory_id: str
    ) -> Scored:
        """Samples one trajectory and judges it; the reward is ``None`` under the same conditions as in a group."""
        prompt = self._codec.encode_prompt(settings.template, problem.question)
        episode = Episode(TrajectoryBuilder(trajectory_id, problem.id, prompt), self._codec, settings.limits())
        return await self._play_and_score(episode, scorer, settings, seed)

    async def sample_step_group(
        self,
        parent: Trajectory,
        step_index: int,
        *,
        suffix_tokens: int,
        group_size: int,
        settings: RolloutSettings,
        seed: int,
        uid: str,
        going_on: GoingOn | None = None,
    ) -> Group:
        """Samples one-step continuations of a failed step's prefix (spec sections E.1, E.7).

        The reward is that of the execution: 1 if the code ran successfully, 0 if it failed, ``None`` where nothing was
        executed or we failed to.
        """
        cut = backtrack_cut(parent.steps[step_index], suffix_tokens)
        going_on = going_on or GoingOn()

        async def sibling(index: int) -> Trajectory:
            if (known := going_on.done(index)) is not None:
                return known
            builder = TrajectoryBuilder.branch(f"{uid}/{index}", parent, step_index, cut)
            episode = going_on.episode(index, builder, self._codec, settings.limits(single_step=True))
            reason = await self._play(episode, settings, seed, going_on)
            return episode.builder.finish(reason, reward=execution_reward(episode.last_result))

        siblings = await asyncio.gather(*map(sibling, range(group_size)))
        return Group(uid, GroupKind.STEP, parent.problem_id, tuple(siblings))

    async def watch_solution(
        self, problem: Problem, *, settings: RolloutSettings, seed: int, uid: str
    ) -> AsyncIterator[LiveEvent]:
        """Samples one trajectory, ungraded, and tells what happens as it happens; the last event holds the trajectory.

        It is the one that `sample_group` samples first under the same arguments.
        """
        prompt = self._codec.encode_prompt(settings.template, problem.question)
        episode = Episode(TrajectoryBuilder(f"{uid}/0", problem.id, prompt), self._codec, settings.limits())
        events: asyncio.Queue[LiveEvent | None] = asyncio.Queue()
        playing = asyncio.create_task(self._play(episode, settings, seed, watch=events.put_nowait))
        playing.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            reason = playing.result()
            answer = extract_boxed(reasoning_text(episode.builder.finish(reason), self._codec))
            yield Done(episode.builder.finish(reason, answer))
        finally:
            playing.cancel()

    async def sample_text(
        self, prompts: Sequence[Sequence[int]], *, sampling: SamplingConfig, seed: int, stop: tuple[str, ...] = ()
    ) -> list[str]:
        """Plain continuations of prompts, given as token ids, one each, without tools; rounds play no part."""
        requests = [
            GenerationRequest(
                ids=tuple(prompt),
                max_new_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                stop=stop,
                seed=derive_seed(seed, "text", index),
            )
            for index, prompt in enumerate(prompts)
        ]
        generations = await asyncio.gather(*(self._generate(request) for request in requests))
        return [self._codec.decode(generation.ids) for generation in generations]

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Continues token sequences side by side, each on its own terms, without tools."""
        return list(await asyncio.gather(*(self._generate(request) for request in requests)))

    async def _play_and_score(
        self,
        episode: Episode,
        scorer: Scorer,
        settings: RolloutSettings,
        seed: int,
        going_on: GoingOn | None = None,
    ) -> Scored:
        reason = await self._play(episode, settings, seed, going_on)
        unscored = episode.builder.finish(reason)
        if reason in (FinishReason.ABORTED, FinishReason.SUSPENDED):
            return Scored(unscored, None)
        started = time.perf_counter()
        grade = await self._score(unscored, scorer, settings)
        episode.builder.cost.grade_seconds += time.perf_counter() - started
        return Scored(episode.builder.finish(reason, grade.extracted, grade.status.value, grade.reward), grade)

    async def _play(
        self,
        episode: Episode,
        settings: RolloutSettings,
        seed: int,
        going_on: GoingOn | None = None,
        watch: Callable[[LiveEvent], None] | None = None,
    ) -> FinishReason:
        builder, sampling, going_on = episode.builder, settings.sampling, going_on or GoingOn()
        interruption = going_on.interruption
        # One that was resumed must not draw the same random numbers again.
        resumed_at = (len(builder),) if builder.cost.generated_tokens else ()
        turn = 0
        while True:
            turn_seed = derive_seed(seed, builder.trajectory_id, turn, *resumed_at)
            turn += 1
            if interruption is not None and interruption.is_set():
                episode.suspend()
            match episode.next():
                case Generate(ids=ids, stop=stop, max_new_tokens=budget):
                    request = GenerationRequest(
                        ids, budget, sampling.temperature, sampling.top_p, sampling.top_k, (stop,), turn_seed
                    )
                    started = time.perf_counter()
                    try:
                        on_tokens = watch and _shown_to(watch, in_action=stop == ACTION_STOP)
                        generating = self._generate(request, on_tokens, interruption)
                        generation = await _within(settings.deadline_seconds, generating)
                    except TimeoutError:
                        episode.abort()
                        continue
                    builder.cost.llm_seconds += time.perf_counter() - started
                    if generation.cause is StopCause.ABORTED and interruption is not None and interruption.is_set():
                        episode.suspend(generation)
                    else:
                        episode.on_generation(generation)
                case Execute(code=code):
                    result = await self._execute(code, settings, turn_seed)
                    discarded = builder.cost.discarded_tokens
                    episode.on_execution(result)
                    if going_on.on_failed_step is not None and result.status.failed:
                        going_on.on_failed_step(episode)
                    if watch is not None:
                        watch(Executed(code, result, builder.cost.discarded_tokens - discarded))
                case Finished(reason=reason):
                    self.stats.trajectories += reason is not FinishReason.SUSPENDED
                    self.stats.aborted += reason is FinishReason.ABORTED
                    return reason

    async def _generate(
        self,
        request: GenerationRequest,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Generation:
        generation = await self._engine.generate(request, on_tokens, interruption)
        self.stats.requests += 1
        self.stats.prompt_tokens += len(request.ids)
        self.stats.cached_tokens += generation.cached_tokens
        self.stats.generated_tokens += len(generation.ids)
        return generation

    async def _execute(self, code: str, settings: RolloutSettings, seed: int) -> ExecutionResult:
        self.stats.sandbox_calls += 1
        timeout = settings.program_seconds
        running = self._code_runner.arun(code, timeout=timeout, seed=seed % 2**32)
        try:
            result = to_execution_result(await _within(settings.deadline_seconds, running), timeout)
        except TimeoutError:
            result = ExecutionResult(ExecutionStatus.INFRA_ERROR, INFRA_TEXT)
        self.stats.program_seconds += result.wall_seconds
        self.stats.queue_seconds += result.queue_seconds
        self.stats.infra_errors += result.status is ExecutionStatus.INFRA_ERROR
        return result

    async def _score(self, trajectory: Trajectory, scorer: Scorer, settings: RolloutSettings) -> Grade:
        self.stats.grades += 1
        try:
            grade = await _within(settings.deadline_seconds, scorer(trajectory, self._scoring))
        except TimeoutError:
            grade = Grade(GradeStatus.ERROR, "no verdict in time", "deadline", None, settings.deadline_seconds * 1000)
        self.stats.grader_failures += grade.reward is None
        return grade


def execution_reward(result: ExecutionResult | None) -> float | None:
    """The step-level reward: only executed code is rewarded, our own failures never are (invariant 4)."""
    if result is None or result.status is ExecutionStatus.INFRA_ERROR:
        return None
    return 1.0 if result.status is ExecutionStatus.OK else 0.0


def _shown_to(watch: Callable[[LiveEvent], None], in_action: bool) -> OnTokens:
    """Tells a watcher of the tokens of one request."""
    begins = True

    def on_tokens(ids: Sequence[int]) -> None:
        nonlocal begins
        watch(Sampled(tuple(ids), begins, in_action))
        begins = False

    return on_tokens


async def _within(seconds: float, awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await awaitable
