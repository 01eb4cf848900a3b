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

from actors.branching import BranchBudget, Branching
from actors.codec import Codec
from actors.episode import ACTION_STOP, Episode, EpisodeLimits, Execute, Finished, Generate, reasoning_text
from actors.execution import INFRA_TEXT, to_execution_result
from actors.generation import Engine, Generation, GenerationRequest, OnTokens, derive_seed
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

OnFailedStep = Callable[[Episode], None]
"""Called as soon as a program has failed, which is the last step of the episode then."""


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
        self._branches = BranchBudget()
        self._scoring = ScoringTools(codec, grader, code_runner)

    async def sample_group(
        self,
        problem: Problem,
        *,
        group_size: int,
        settings: RolloutSettings,
        seed: int,
        uid: str,
        on_failed_step: OnFailedStep | None = None,
    ) -> Group:
        """Samples ``group_size`` siblings of one problem and grades them: 1 for a right answer, 0 for any other.

        The reward is ``None`` where the grader failed or the trajectory was aborted.
        """
        prompt = self._codec.encode_prompt(settings.template, problem.question)
        episodes = [
            Episode(TrajectoryBuilder(f"{uid}/{sibling}", problem.id, prompt), self._codec, settings.limits())
            for sibling in range(group_size)
        ]
        scorer = AnswerScorer(problem.answer)
        scored = await asyncio.gather(
            *(self._play_and_score(episode, scorer, settings, seed, on_failed_step) for episode in episodes)
        )
        return Group(uid, GroupKind.EPISODE, problem.id, tuple(each.trajectory for each in scored))

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
    ) -> Group:
        """Samples one-step continuations of a failed step's prefix (spec sections E.1, E.7).

        The reward is that of the execution: 1 if the code ran successfully, 0 if it failed, ``None`` where nothing was
        executed or we failed to.
        """
        cut = backtrack_cut(parent.steps[step_index], suffix_tokens)
        episodes = [
            Episode(
                TrajectoryBuilder.branch(f"{uid}/{sibling}", parent, step_index, cut),
                self._codec,
                settings.limits(single_step=True),
            )
            for sibling in range(group_size)
        ]
        reasons = await asyncio.gather(*(self._play(episode, settings, seed) for episode in episodes))
        trajectories = tuple(
            episode.builder.finish(reason, reward=execution_reward(episode.last_result))
            for episode, reason in zip(episodes, reasons, strict=True)
        )
        return Group(uid, GroupKind.STEP, parent.problem_id, trajectories)

    async def sample_family(
        self,
        problem: Problem,
        *,
        group_size: int,
        branching: Branching | None,
        settings: RolloutSettings,
        seed: int,
        uid: str,
    ) -> list[Group]:
        """Samples a group of siblings and, each begun as soon as a step has failed, the step groups that branch off it.

        Whichever step fails first is branched first, so what is resampled depends on the order of events; ``None`` for
        ``branching`` resamples nothing. ``uid`` is the episode group's, a step group's is this and its own number.

        Returns:
            The episode group, then the step groups.
        """
        branches: list[asyncio.Task[Group]] = []

        def branch(episode: Episode) -> None:
            if branching is None or not self._branches.spend():
                return
            # A snapshot: the parent goes on, but what a branch takes over of it does not change any more.
            parent = episode.builder.finish(FinishReason.ABORTED)
            sampling = self.sample_step_group(
                parent,
                len(parent.steps) - 1,
                suffix_tokens=branching.suffix_tokens,
                group_size=branching.group_size,
                settings=settings,
                seed=seed,
                uid=f"{uid}/s{len(branches)}",
            )
            branches.append(tasks.create_task(sampling))

        if branching is not None:
            self._branches.grant(branching.per_family, branching.at_most)
        async with asyncio.TaskGroup() as tasks:
            siblings = tasks.create_task(
                self.sample_group(
                    problem, group_size=group_size, settings=settings, seed=seed, uid=uid, on_failed_step=branch
                )
            )
        return [siblings.result(), *(each.result() for each in branches)]

    async def watch_solution(
        self, problem: Problem, *, settings: RolloutSettings, seed: int, uid: str
    ) -> AsyncIterator[LiveEvent]:
        """Samples one trajectory, ungraded, and tells what happens as it happens; the last event holds the trajectory.

        It is the one that `sample_group` samples first under the same arguments.
        """
        prompt = self._codec.encode_prompt(settings.template, problem.question)
        episode = Episode(TrajectoryBuilder(f"{uid}/0", problem.id, prompt), self._codec, settings.limits())
        events: asyncio.Queue[LiveEvent | None] = asyncio.Queue()
        playing = asyncio.create_task(self._play(episode, settings, seed, events.put_nowait))
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

    async def _play_and_score(
        self,
        episode: Episode,
        scorer: Scorer,
        settings: RolloutSettings,
        seed: int,
        on_failed_step: OnFailedStep | None = None,
    ) -> Scored:
        reason = await self._play(episode, settings, seed, on_failed_step=on_failed_step)
        unscored = episode.builder.finish(reason)
        if reason is FinishReason.ABORTED:
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
        watch: Callable[[LiveEvent], None] | None = None,
        on_failed_step: OnFailedStep | None = None,
    ) -> FinishReason:
        builder, sampling = episode.builder, settings.sampling
        turn = 0
        while True:
            turn_seed = derive_seed(seed, builder.trajectory_id, turn)
            turn += 1
            match episode.next():
                case Generate(ids=ids, stop=stop, max_new_tokens=budget):
                    request = GenerationRequest(
                        ids, budget, sampling.temperature, sampling.top_p, sampling.top_k, (stop,), turn_seed
                    )
                    started = time.perf_counter()
                    try:
                        on_tokens = watch and _shown_to(watch, in_action=stop == ACTION_STOP)
                        generation = await _within(settings.deadline_seconds, self._generate(request, on_tokens))
                    except TimeoutError:
                        episode.abort()
                    else:
                        builder.cost.llm_seconds += time.perf_counter() - started
                        episode.on_generation(generation)
                case Execute(code=code):
                    result = await self._execute(code, settings, turn_seed)
                    discarded = builder.cost.discarded_tokens
                    episode.on_execution(result)
                    if on_failed_step is not None and result.status.failed:
                        on_failed_step(episode)
                    if watch is not None:
                        watch(Executed(code, result, builder.cost.discarded_tokens - discarded))
                case Finished(reason=reason):
                    self.stats.trajectories += 1
                    self.stats.aborted += reason is FinishReason.ABORTED
                    return reason

    async def _generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        generation = await self._engine.generate(request, on_tokens)
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
