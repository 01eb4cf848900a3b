"""TIRGen: demonstrations of tool use in the policy's own words (paper section 2.2, algorithm 1; spec section B).

The generator, which is the policy that will be trained, writes solutions. Step by step the refiner takes them apart,
the sandbox runs the refiner's programs, and what they really printed replaces what the generator had worked out by
hand. Filters decide what may train the policy, and a funnel tells how many fell at each rule.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from actors.execution import make_sandbox
from actors.generation import derive_seed
from actors.scorers import Grader
from thor_ray.config import Recipe, SamplingConfig, TirgenConfig
from thor_ray.demonstrations import OURS, Circumstances, Demonstration, Funnel, Sieve, Source, build_rules, set_rules
from thor_ray.errors import UserError
from thor_ray.files import write_text_atomically
from thor_ray.grading import GraderPool, GradeStatus
from thor_ray.problems import Problem
from thor_ray.records import Stage
from thor_ray.refine import SymbolicRefiner
from thor_ray.runlog import RunLog
from thor_ray.stages.rewriting import Rewriter
from thor_ray.stages.workers import Workers
from thor_ray.tirgen.export import step_rows
from thor_ray.tirgen.inspection import FOLDER, STEPS
from thor_ray.trajectory import Group, GroupKind

TOP_K: Final = 50
"""Of the generator (spec B.2, paper)."""

CONCURRENCY: Final = 64
"""Solutions rewritten at the same time."""

PROMPTS_PER_CALL: Final = 256
"""Prompts that go to a rollout actor at a time."""

Prompt = Sequence[int]
"""Token ids of a prompt."""

OnProgress = Callable[[int, Mapping[str, Any], int], None]


class Generator(Protocol):
    """Writes solutions without tools."""

    async def sample(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """One continuation of each prompt; the same prompts and seed give the same texts."""


@dataclass(frozen=True, slots=True)
class TirgenResult:
    """The cold-start set and how it came about.

    Attributes:
        demonstrations: At most one per problem, in the order of the problems.
        funnels: What the filters took out, by source (``generator``, ``worked_solution``), and of what both left
            (``selection``).
        figures: Counts and shares, plain JSON values.
        steps: What became of each step of every candidate, kept or not: rows of ``thor_ray.tirgen.export.step_rows``.
    """

    demonstrations: tuple[Demonstration, ...]
    funnels: Mapping[str, Funnel]
    figures: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...] = ()


def tirgen(
    workers: Workers, problems: Sequence[Problem], recipe: Recipe, log: RunLog, on_progress: OnProgress
) -> dict[str, Any]:
    """Builds the cold-start set with the policy that the engines serve, and records it.

    Args:
        workers: Their engines are the generator.
        problems: Training problems.
        recipe: Section ``tirgen`` decides.
        log: Gets the demonstrations and the figures.
        on_progress: Called with the number of rewritten solutions, the figures so far and how many there will be.

    Returns:
        Figures and funnels as plain JSON values.

    Raises:
        UserError: no demonstration passed the filters.
    """
    config = recipe.tirgen
    generator = FleetGenerator(workers.fleet.actors, config, recipe.policy.max_context)
    with (
        make_sandbox(recipe.sandbox) as code_runner,
        GraderPool() as grader,
    ):
        rewriter = Rewriter(
            refiner=SymbolicRefiner(config.flawed_first, config.flawed_again),
            code_runner=code_runner,
            grader=grader,
            codec=workers.codec,
            end_of_sequence=workers.codec.end_of_sequence,
            template=recipe.policy.template,
            program_seconds=recipe.sandbox.timeout_seconds,
        )
        result = asyncio.run(
            build_demonstrations(
                problems, generator, rewriter, config, recipe.policy.max_context, recipe.seed, on_progress
            )
        )
    _write_steps(result.steps, log.path / FOLDER / STEPS)
    report = {**result.figures, "funnels": {name: funnel.to_json() for name, funnel in result.funnels.items()}}
    if not result.demonstrations:
        raise UserError(
            f"none of {len(problems)} problems gave a demonstration: {_losses(result.funnels)}",
            "raise tirgen.attempts, give problems with worked solutions, or choose a stronger policy",
        )
    groups = [
        Group(f"tirgen/{each.problem_id}", GroupKind.EPISODE, each.problem_id, (each.trajectory,))
        for each in result.demonstrations
    ]
    log.record_groups(groups, Stage.TIRGEN, 0, gold_answers={problem.id: problem.answer for problem in problems})
    log.record_metrics(Stage.TIRGEN, 0, result.figures)
    return report


async def build_demonstrations(
    problems: Sequence[Problem],
    generator: Generator,
    rewriter: Rewriter,
    config: TirgenConfig,
    max_tokens: int,
    seed: int,
    on_progress: OnProgress = lambda done, figures, total: None,
) -> TirgenResult:
    """Algorithm 1 over all problems: the generator's attempts first, worked solutions where all were rejected.

    Args:
        problems: Training problems; ids are unique.
        generator: Writes solutions.
        rewriter: Rewrites them.
        config: Attempts, fallback and filters.
        max_tokens: Of prompt and response together.
        seed: Decides everything that is drawn: the same arguments give the same demonstrations.
        on_progress: See ``tirgen``.
    """
    prompts = [rewriter.prompt(problem) for problem in problems]
    attempts = await sampled_attempts(problems, prompts, generator, config.attempts, seed)
    # Failures that the refiner planted must pass; without any, the paper's rule holds.
    circumstances = Circumstances(max_tokens, every_block=config.flawed_first == 0, seed=seed)
    rules = build_rules(config.filters or OURS, circumstances)
    sieves = {source: Sieve(rules) for source in Source}
    progress = _Progress(on_progress, len(attempts))
    candidates: list[Demonstration] = []

    async def rewritten(source: Source, solutions: Sequence[tuple[Problem, str]]) -> list[Demonstration]:
        room = asyncio.Semaphore(CONCURRENCY)

        async def one(index: int, problem: Problem, text: str) -> tuple[Demonstration, list[Demonstration]]:
            async with room:
                demonstration = await rewriter.demonstrate(problem, text, source, f"tirgen/{source}/{index}", seed)
            passed = sieves[source].sift([demonstration])
            progress.advance(bool(passed))
            return demonstration, passed

        results = await asyncio.gather(*(one(index, *solution) for index, solution in enumerate(solutions)))
        candidates.extend(demonstration for demonstration, _ in results)
        return [each for _, passed in results for each in passed]

    accepted = await rewritten(Source.GENERATOR, attempts)
    if config.worked_solutions:
        solved = {demonstration.problem_id for demonstration in accepted}
        rest = [
            (problem, problem.solution)
            for problem in problems
            if problem.id not in solved and problem.solution is not None
        ]
        progress.total += len(rest)
        accepted += await rewritten(Source.WORKED_SOLUTION, rest)
    solved_share = {} if config.drop_if_solved is None else await _solved_share(attempts, rewriter.grader)
    selection = Sieve(set_rules(seed, config.keep_by_calls, solved_share, config.drop_if_solved))
    position = {problem.id: index for index, problem in enumerate(problems)}
    kept = sorted(selection.sift(accepted), key=lambda demonstration: position[demonstration.problem_id])
    funnels = {str(source): sieve.funnel() for source, sieve in sieves.items()} | {"selection": selection.funnel()}
    steps = _all_steps(candidates, (*sieves.values(), selection))
    return TirgenResult(tuple(kept), funnels, _figures(problems, kept), steps)


def _all_steps(candidates: Sequence[Demonstration], sieves: Iterable[Sieve]) -> tuple[Mapping[str, Any], ...]:
    """What became of every candidate, with the rule of whichever sieve rejected it."""
    rejections = {identity: reason for sieve in sieves for identity, reason in sieve.rejections().items()}
    return tuple(row for each in candidates for row in step_rows(each, rejections.get(each.trajectory.id)))


def _write_steps(steps: Sequence[Mapping[str, Any]], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    write_text_atomically(path, "".join(json.dumps(step, ensure_ascii=False) + "\n" for step in steps))


async def sampled_attempts(
    problems: Sequence[Problem], prompts: Sequence[Prompt], generator: Generator, attempts: int, seed: int
) -> list[tuple[Problem, str]]:
    """Each problem with each of the generator's solutions of it, attempt by attempt."""
    texts = [await generator.sample(prompts, derive_seed(seed, "generator", attempt)) for attempt in range(attempts)]
    return [pair for solutions in texts for pair in zip(problems, solutions, strict=True)]


async def _solved_share(attempts: Sequence[tuple[Problem, str]], grader: Grader) -> dict[str, float]:
    """Share of the generator's attempts, by problem id, that are right as they stand."""
    grades = await asyncio.gather(*(grader.agrade(text, problem.answer) for problem, text in attempts))
    tried = Counter(problem.id for problem, _ in attempts)
    solved = Counter(
        problem.id for (problem, _), grade in zip(attempts, grades, strict=True) if grade.status is GradeStatus.CORRECT
    )
    return {problem: solved[problem] / count for problem, count in tried.items()}


@dataclass(slots=True)
class _Progress:
    on_progress: OnProgress
    total: int
    done: int = 0
    kept: int = 0

    def advance(self, kept: bool) -> None:
        self.done += 1
        self.kept += kept
        self.on_progress(self.done, {"kept": self.kept}, self.total)


def _figures(problems: Sequence[Problem], kept: Sequence[Demonstration]) -> dict[str, Any]:
    trajectories = [each.trajectory for each in kept]
    claims = [claim for each in kept for claim in each.claims]
    blocks = sum(trajectory.calls for trajectory in trajectories)
    failed = blocks - sum(trajectory.successful_calls for trajectory in trajectories)
    lengths = [len(trajectory.ids) for trajectory in trajectories]
    return {
        "problems": len(problems),
        "demonstrations": len(kept),
        "without_demonstration": len(problems) - len(kept),
        "by_source": {str(source): sum(each.source is source for each in kept) for source in Source},
        "by_calls": {str(calls): count for calls, count in sorted(Counter(t.calls for t in trajectories).items())},
        "blocks": blocks,
        "failing_share": failed / blocks if blocks else None,
        "claims": len(claims),
        "claims_corrected": sum(not claim.agrees for claim in claims),
        "tokens_mean": sum(lengths) / len(lengths) if lengths else None,
        "tokens_max": max(lengths, default=None),
    }


def _losses(funnels: Mapping[str, Funnel]) -> str:
    """``generator: 40 boxed, 2 answer_correct; worked_solution: ...``."""
    told = []
    for name, funnel in funnels.items():
        fallen = [f"{outcome.rejected} {outcome.name}" for outcome in funnel.outcomes if outcome.rejected]
        told.append(f"{name} {funnel.entered} in" + (f", rejected by {', '.join(fallen)}" if fallen else ""))
    return "; ".join(told)


class FleetGenerator:
    """The policy on its rollout actors as a ``Generator``.

    Args:
        actors: Handles of rollout actors; prompts are dealt out to them in turn.
        config: Temperature and tokens per solution.
        max_context: Tokens of prompt and solution together.
    """

    def __init__(self, actors: Sequence[Any], config: TirgenConfig, max_context: int) -> None:
        self._actors = list(actors)
        self._config = config
        self._max_context = max_context

    async def sample(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        """One continuation of each prompt; see ``Generator``."""
        calls = [
            (index, prompts[start : start + PROMPTS_PER_CALL])
            for index, start in enumerate(range(0, len(prompts), PROMPTS_PER_CALL))
        ]

        async def by_actor(actor: int) -> list[tuple[int, list[str]]]:
            return [
                (index, await self._call(self._actors[actor], batch, derive_seed(seed, index)))
                for index, batch in calls[actor :: len(self._actors)]
            ]

        batches = await asyncio.gather(*(by_actor(actor) for actor in range(len(self._actors))))
        return [text for _, texts in sorted(pair for batch in batches for pair in batch) for text in texts]

    async def _call(self, actor: Any, prompts: Sequence[Prompt], seed: int) -> list[str]:
        longest = max(map(len, prompts))
        sampling = SamplingConfig(
            temperature=self._config.temperature,
            top_k=TOP_K,
            max_new_tokens=min(self._config.step_tokens, self._max_context - longest),
        )
        texts: list[str] = await actor.sample_text.remote(prompts, sampling, seed)
        return texts
