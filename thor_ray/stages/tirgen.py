"""TIRGen: demonstrations of tool use in the policy's own words (paper section 2.2, algorithm 1; spec section B).

The generator, which is the policy that will be trained, writes solutions. Step by step the refiner takes them apart,
the sandbox runs the refiner's programs, and what they really printed replaces what the generator had worked out by
hand. Filters decide what may train the policy, and a funnel tells how many fell at each rule.

Solutions stream (``thor_ray.stages.candidates``): few of them are in memory, and each is safe on disk at once. A run that
was killed goes on with what has no line there. What comes out depends on recipe and problems alone: not on what was
finished first, on how many solutions were under way at a time, or on how often the run was stopped.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.execution import make_sandbox
from thor_ray import __version__
from thor_ray.config import Recipe, TirgenConfig
from thor_ray.demonstrations import (
    OURS,
    Circumstances,
    Demonstration,
    Funnel,
    Rule,
    RuleOutcome,
    Sieve,
    Source,
    build_rules,
    set_rules,
)
from thor_ray.demonstrations.funnel import EXAMPLES
from thor_ray.errors import UserError
from thor_ray.files import atomic_path
from thor_ray.grading import GraderPool
from thor_ray.problems import Problem
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.candidates import BATCHES_AT_A_TIME, CandidateMill, Meter, OnProgress
from thor_ray.stages.difficulty import DIFFICULTY, DifficultyLog, measure_difficulty
from thor_ray.stages.rewriting import Rewriter
from thor_ray.stages.tirgen_models import tirgen_models
from thor_ray.stages.workers import Workers
from thor_ray.tirgen import dataset, ledger
from thor_ray.tirgen.costs import CandidateCost
from thor_ray.tirgen.generation import Generator
from thor_ray.tirgen.inspection import FOLDER, STEPS
from thor_ray.tirgen.ledger import Entry, Ledger
from thor_ray.tirgen.result import TirgenResult, figures_of
from thor_ray.trajectory import Group, GroupKind


def tirgen(
    workers: Workers, problems: Sequence[Problem], recipe: Recipe, log: RunLog, on_progress: OnProgress
) -> dict[str, Any]:
    """Builds the cold-start set with the policy that the engines serve, and records it.

    Goes on with what an earlier attempt at the run has left in its directory.

    Args:
        workers: Their engines are the generator.
        problems: Training problems.
        recipe: Section ``tirgen`` decides.
        log: Gets the demonstrations, the data set made of them, and the figures.
        on_progress: Called with the number of finished candidates, the figures so far and how many there will be.

    Returns:
        Figures and funnels as plain JSON values.

    Raises:
        UserError: no demonstration passed the filters.
        RecordFormatError: what an earlier attempt has left is not ours.
    """
    config = recipe.tirgen
    place = log.path / FOLDER
    with (
        make_sandbox(recipe.sandbox) as code_runner,
        GraderPool() as grader,
        Ledger(place / ledger.FOLDER) as finished,
    ):
        models = tirgen_models(workers, recipe, code_runner, grader)
        building = build_demonstrations(
            problems,
            models.generator,
            models.rewriter,
            config,
            recipe.policy.max_context,
            recipe.seed,
            finished,
            on_progress,
            batches_at_a_time=BATCHES_AT_A_TIME * len(workers.fleet.actors),
        )
        result = asyncio.run(models.finishing(building))
    _write_steps(result.steps(), place / STEPS)
    funnels = {name: funnel.to_json() for name, funnel in result.funnels.items()}
    if not result.kept:
        raise UserError(
            f"none of {len(problems)} problems gave a demonstration: {_losses(result.funnels)}",
            "raise tirgen.attempts, give problems with worked solutions, or choose a stronger policy",
        )
    _record(result, problems, log)
    asked = {problem.id: problem for problem in problems}
    rows = (dataset.dataset_row(each, asked[each.problem_id], workers.codec.decode) for each in result.demonstrations())
    origin = dataset.Origin(recipe.name, _settings(recipe), funnels, result.figures)
    dataset.write_dataset(place / dataset.FOLDER, rows, origin)
    return {**result.figures, "funnels": funnels}


async def build_demonstrations(
    problems: Sequence[Problem],
    generator: Generator,
    rewriter: Rewriter,
    config: TirgenConfig,
    max_tokens: int,
    seed: int,
    finished: Ledger,
    on_progress: OnProgress = lambda done, figures, total: None,
    *,
    batches_at_a_time: int = BATCHES_AT_A_TIME,
) -> TirgenResult:
    """Algorithm 1 over all problems: the generator's attempts first, worked solutions where all were rejected.

    Args:
        problems: Training problems; ids are unique.
        generator: Writes solutions.
        rewriter: Rewrites them.
        config: Attempts, fallback and filters.
        max_tokens: Of prompt and response together.
        seed: Decides everything that is drawn: the same arguments give the same demonstrations.
        finished: Candidates of an earlier attempt with the same arguments, which are not made again; gets all others.
        on_progress: See ``tirgen``.
        batches_at_a_time: Calls of the generator under way.
    """
    # Failures that the refiner planted must pass; without any, the paper's rule holds.
    circumstances = Circumstances(max_tokens, every_block=config.flawed_first == 0, seed=seed)
    rules = build_rules(config.filters or OURS, circumstances)
    mill = CandidateMill(generator, rewriter, rules, finished, seed, Meter(on_progress), batches_at_a_time)
    asked, funnels, cost = list(enumerate(problems)), dict[str, Funnel](), CandidateCost()
    if config.drop_if_solved is not None:
        difficulty = DifficultyLog(finished.directory.parent / DIFFICULTY)
        samples = config.difficulty_samples
        shares = await measure_difficulty(asked, samples, generator, rewriter, seed, difficulty, batches_at_a_time)
        funnels["difficulty"] = _difficulty_funnel(shares, config.drop_if_solved, samples)
        asked = [each for each in asked if shares[each[1].id] < config.drop_if_solved]
        cost = CandidateCost(generated_tokens=difficulty.tokens)
    await mill.attempt(asked, config.attempts, of=len(problems))
    if config.worked_solutions:
        solved = {entry.problem_id for entry in finished.entries() if _accepted(entry, Source.GENERATOR)}
        await mill.rewrite([problem for _, problem in asked if problem.id not in solved])
    return _selected(problems, finished, rules, config, seed, funnels, cost)


def _selected(
    problems: Sequence[Problem],
    finished: Ledger,
    rules: Sequence[Rule[Demonstration]],
    config: TirgenConfig,
    seed: int,
    funnels: Mapping[str, Funnel],
    cost: CandidateCost,
) -> TirgenResult:
    """What is kept of all finished candidates, and the report; independent of the order in which they were finished."""
    position = {problem.id: index for index, problem in enumerate(problems)}
    entries = sorted(
        finished.entries(), key=lambda entry: (entry.key.source, entry.key.attempt, position[entry.problem_id])
    )
    sieves = {source: Sieve(rules) for source in Source}
    for entry in entries:
        sieves[entry.key.source].count(entry.id, entry.rejection)
    selection: Sieve[Entry] = Sieve(set_rules(seed, config.keep_by_calls))
    accepted = selection.sift([entry for entry in entries if entry.rejection is None])
    kept = sorted(accepted, key=lambda entry: position[entry.problem_id])
    demonstrations = (finished.read(entry).demonstration for entry in kept)
    return TirgenResult(
        ledger=finished,
        candidates=entries,
        kept=kept,
        rejections={entry.id: str(entry.rejection) for entry in entries if entry.rejection} | selection.rejections(),
        funnels={
            **funnels,
            **{str(source): sieve.funnel() for source, sieve in sieves.items()},
            "selection": selection.funnel(),
        },
        figures=figures_of(
            demonstrations, len(problems), CandidateCost.total([cost, *(entry.cost for entry in entries)])
        ),
    )


def _accepted(entry: Entry, source: Source) -> bool:
    return entry.key.source is source and entry.rejection is None


def _difficulty_funnel(shares: Mapping[str, float], threshold: float, samples: int) -> Funnel:
    """How many problems are dropped because no tools are needed for them; problems stand in for demonstrations."""
    easy = sorted(problem for problem, share in shares.items() if share >= threshold)
    reason = "solved without tools"
    outcome = RuleOutcome(
        name="hard_enough",
        parameters={"threshold": threshold, "samples": samples},
        entered=len(shares),
        reasons={reason: len(easy)} if easy else {},
        examples=tuple((problem, reason) for problem in easy[:EXAMPLES]),
    )
    return Funnel(len(shares), len(shares) - len(easy), (outcome,))


def _record(result: TirgenResult, problems: Sequence[Problem], log: RunLog) -> None:
    groups = (
        Group(f"tirgen/{each.problem_id}", GroupKind.EPISODE, each.problem_id, (each.trajectory,))
        for each in result.demonstrations()
    )
    log.record_groups(groups, Stage.TIRGEN, 0, gold_answers={problem.id: problem.answer for problem in problems})
    log.record_metrics(Stage.TIRGEN, 0, result.figures)


def _write_steps(steps: Iterable[Mapping[str, Any]], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(step, ensure_ascii=False) + "\n" for step in steps)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What the card of a data set says of how it was made."""
    config = recipe.tirgen
    return {
        "generator": recipe.policy.model,
        "prompt template": recipe.policy.template,
        "attempts per problem": config.attempts,
        "temperature": config.temperature,
        "worked solutions where all attempts fell": "yes" if config.worked_solutions else "no",
        "first programs that fail on purpose": config.flawed_first,
        "seed": recipe.seed,
        "made by": f"thor-ray {__version__}",
    }


def _losses(funnels: Mapping[str, Funnel]) -> str:
    """``generator: 40 boxed, 2 answer_correct; worked_solution: ...``."""
    told = []
    for name, funnel in funnels.items():
        fallen = [f"{outcome.rejected} {outcome.name}" for outcome in funnel.outcomes if outcome.rejected]
        told.append(f"{name} {funnel.entered} in" + (f", rejected by {', '.join(fallen)}" if fallen else ""))
    return "; ".join(told)
