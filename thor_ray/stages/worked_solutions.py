"""TIRGen without a generator: worked solutions that somebody else wrote, rewritten so that programs compute."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors.codec import TokenizerCodec
from actors.execution import make_sandbox
from thor_ray import __version__
from thor_ray.config import Recipe
from thor_ray.demonstrations import OURS, Circumstances, Demonstration, Sieve, Source, build_rules
from thor_ray.demonstrations.rule_list import RuleSpec
from thor_ray.errors import UserError
from thor_ray.files import write_text_atomically
from thor_ray.grading import GraderPool
from thor_ray.problems import Problem
from thor_ray.problems.decontamination import OverlapRule, index_test_sets
from thor_ray.refine import SymbolicRefiner
from thor_ray.stages.rewriting import Rewriter
from thor_ray.tirgen import Difference, RewriteReport, dataset
from thor_ray.tirgen.export import message_row, sharegpt_row, step_rows
from thor_ray.tirgen.inspection import STEPS

CONCURRENCY: Final = 16
"""Solutions rewritten at the same time; the sandbox has a few programs to choose from, and no more wait than needed."""

REPORT: Final = "report.json"
MESSAGES: Final = "messages.jsonl"
SHAREGPT: Final = "sharegpt.jsonl"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Worked solutions after TIRGen.

    Attributes:
        demonstrations: One per problem, in the problems' order, kept or not.
        kept: Ids of the trajectories that passed every rule.
        rejections: Rule and reason by trajectory id, of the others.
        report: Counts.
    """

    demonstrations: tuple[Demonstration, ...]
    kept: frozenset[str]
    rejections: dict[str, str]
    report: RewriteReport


def rewrite_solutions(
    problems: Sequence[Problem],
    model: Path,
    recipe: Recipe,
    max_tokens: int,
    *,
    rules: Sequence[RuleSpec] = OURS,
    overlaps: Mapping[str, str] | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Rewritten:
    """Rewrites the worked solutions of ``problems`` with the symbolic refiner, runs the programs, and filters.

    The same problems, recipe and seed give the same result.

    Args:
        problems: With worked solutions.
        model: Directory of the policy whose tokenizer writes the demonstrations.
        recipe: Sections ``sandbox`` and ``policy``, and the seed.
        max_tokens: Of prompt and response together; longer ones are filtered out.
        rules: The filters, in order.
        overlaps: Name of a test set, by the ids of problems that are in it, for the rule ``not_in_tests``.
        on_progress: Called with the number of solutions that are done.

    Raises:
        UserError: a problem has no worked solution.
        ValueError: a rule or one of its parameters does not exist.
    """
    without = [problem.id for problem in problems if not problem.solution]
    if without:
        raise UserError(
            f"{len(without)} of {len(problems)} problems have no worked solution, {without[0]} for one",
            "give rows with a field `solution`, or GSM8K's `answer` with its reasoning",
        )
    codec = TokenizerCodec.from_directory(str(model))
    with make_sandbox(recipe.sandbox) as code_runner, GraderPool() as grader:
        rewriter = Rewriter(
            SymbolicRefiner(),
            code_runner,
            grader,
            codec,
            codec.end_of_sequence,
            recipe.policy.template,
            recipe.sandbox.timeout_seconds,
        )
        demonstrations = asyncio.run(_rewritten(problems, rewriter, recipe.seed, on_progress))
    sieve = Sieve(build_rules(rules, Circumstances(max_tokens, seed=recipe.seed, overlaps=overlaps or {})))
    kept = sieve.sift(demonstrations)
    return Rewritten(
        tuple(demonstrations),
        frozenset(each.trajectory.id for each in kept),
        sieve.rejections(),
        RewriteReport.of(demonstrations, sieve.funnel()),
    )


def overlapping(problems: Sequence[Problem], tests: Sequence[str], data_dir: Path | None = None) -> dict[str, str]:
    """Name of the first test set that a problem is in, by the ids of those that are in one.

    Args:
        problems: Training problems.
        tests: Benchmarks by name, files, or data sets of the hub.
        data_dir: Where benchmark files lie.

    Raises:
        ProblemFileError: a test set is not found or cannot be read.
    """
    index = index_test_sets(tests, OverlapRule(), data_dir)
    found = {problem.id: index.overlaps(problem, row) for row, problem in enumerate(problems, start=1)}
    return {identity: overlaps[0].test_set for identity, overlaps in found.items() if overlaps}


async def _rewritten(
    problems: Sequence[Problem], rewriter: Rewriter, seed: int, on_progress: Callable[[int], None]
) -> list[Demonstration]:
    room = asyncio.Semaphore(CONCURRENCY)
    done = 0

    async def one(index: int, problem: Problem) -> Demonstration:
        nonlocal done
        async with room:
            text = problem.solution or ""
            identity = f"tirgen/{Source.WORKED_SOLUTION}/{index}"
            demonstration = await rewriter.demonstrate(problem, text, Source.WORKED_SOLUTION, identity, seed)
        done += 1
        on_progress(done)
        return demonstration

    return await asyncio.gather(*(one(index, problem) for index, problem in enumerate(problems)))


def write_rewritten(
    rewritten: Rewritten,
    problems: Sequence[Problem],
    model: Path,
    directory: Path,
    difference: Difference | None = None,
) -> None:
    """Writes ``report.json``, ``steps.jsonl`` with what became of each step, and what was kept: messages, ShareGPT, a data set.

    Args:
        rewritten: What to write.
        problems: That it came from.
        model: Whose tokenizer reads the demonstrations.
        directory: Made if it is missing; files of these names are replaced.
        difference: To another list of rules, for the report.
    """
    codec = TokenizerCodec.from_directory(str(model))
    questions = {problem.id: problem.question for problem in problems}
    directory.mkdir(parents=True, exist_ok=True)
    steps = [
        row
        for each in rewritten.demonstrations
        for row in step_rows(each, rewritten.rejections.get(each.trajectory.id))
    ]
    kept = [each for each in rewritten.demonstrations if each.trajectory.id in rewritten.kept]
    messages = [message_row(each, questions[each.problem_id], codec.decode) for each in kept]
    conversations = [sharegpt_row(row) for row in messages]
    for name, rows in ((STEPS, steps), (MESSAGES, messages), (SHAREGPT, conversations)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text_atomically(directory / name, lines)
    asked = {problem.id: problem for problem in problems}
    published = (dataset.dataset_row(each, asked[each.problem_id], codec.decode) for each in kept)
    origin = dataset.Origin(
        directory.absolute().name,
        {"reasoning": "worked solutions", "refiner": "symbolic", "made by": f"thor-ray {__version__}"},
        {"filters": rewritten.report.funnel.to_json()},
    )
    dataset.write_dataset(directory / dataset.FOLDER, published, origin)
    report = rewritten.report.to_json()
    if difference is not None:
        report["difference"] = difference.to_json()
    write_text_atomically(directory / REPORT, json.dumps(report, indent=2) + "\n")
