"""``thor code``: programs against the tests of code benchmarks."""

import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from thor_ray.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from sandbox import Limits
    from thor_ray.code_benchmarks import CodeJudge, CodeProblem, CodeVerdict
    from thor_ray.code_benchmarks.solutions import Solution

app = typer.Typer(no_args_is_help=True, help="Code benchmarks: HumanEval+, MBPP+, LiveCodeBench.")

CANONICAL: Final = "canonical"
MUTATED: Final = "mutated"
_MEBIBYTE: Final = 1 << 20
_IN_FLIGHT_PER_WORKER: Final = 4
"""So that comparisons never leave a worker idle."""
_MOST_FAILURES_SHOWN: Final = 20


@app.callback()
def about() -> None:
    """Keeps ``check`` a verb of its own."""


@app.command()
def check(
    source: Annotated[
        str, typer.Argument(metavar="BENCHMARK|FILE", help="humanevalplus, mbppplus, livecodebench, or such a file.")
    ],
    solutions: Annotated[
        str,
        typer.Option(
            metavar="canonical|mutated|FILE",
            help="The benchmark's own solutions; these with one change each; or JSONL with `id` and `response`.",
        ),
    ] = CANONICAL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSONL of verdicts, one a program.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder with benchmark files, instead of what THOR_DATA names.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Programs at a time; by default one for each core.")
    ] = None,
    memory: Annotated[int, typer.Option(min=1, help="MiB that one program may use.")] = 2048,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many problems only.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the changes of mutants.")] = 0,
    least_caught: Annotated[
        float, typer.Option(min=0, max=1, help="Share of mutants that tests must catch; some change nothing.")
    ] = 0.9,
) -> None:
    """Run programs on the tests of a code benchmark, in the sandbox.

    Ends with code 1 if a canonical solution fails, if too few mutants are caught, or if the sandbox itself failed;
    solutions from a file may fail.
    """
    import asyncio

    from rich.console import Console

    from thor_ray.code_benchmarks import load_code_problems
    from thor_ray.code_benchmarks.answer_key import AnswerKeyError
    from thor_ray.code_benchmarks.summary import summarise

    if output is not None and not output.parent.is_dir():
        raise UserError(f"there is no directory {output.parent}", "make it, or write somewhere else")
    problems = load_code_problems(source, data_dir)[:limit]
    programs = _solutions(solutions, problems, seed)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        verdicts = asyncio.run(_check_all(programs, _limits(memory), workers, output, console))
    except AnswerKeyError as error:
        raise UserError(str(error), "--memory gives programs more memory") from error
    seconds = time.monotonic() - began
    suites = list(dict.fromkeys(suite.name for problem in problems for suite in problem.suites))
    summary = summarise(verdicts, suites)
    judged = [verdict for verdict in verdicts if verdict.judged]
    told = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items()))
    typer.echo(f"{source}, {solutions}: {summary.programs} programs in {seconds:.1f} s: {told}")
    if solutions == MUTATED:
        caught = sum(not verdict.passed for verdict in judged)
        _print_survivors(programs, verdicts)
        typer.echo(f"mutants caught: {caught} of {len(judged)}")
        good = caught >= least_caught * len(judged)
    else:
        for suite, share in summary.suite_pass_at_1.items():
            typer.echo(f"pass@1, {suite}: {100 * share:.1f} %")
        _print_failures(verdicts, console)
        good = solutions != CANONICAL or summary.passed == summary.programs
    if not good or len(judged) < len(verdicts):
        raise typer.Exit(1)


def _solutions(name: str, problems: "Sequence[CodeProblem]", seed: int) -> "list[Solution]":
    from thor_ray.code_benchmarks.solutions import canonical_solutions, mutated_solutions, read_solutions

    match name:
        case "canonical":
            return canonical_solutions(problems)
        case "mutated":
            return mutated_solutions(problems, seed)
    return read_solutions(Path(name), problems)


def _limits(mebibytes: int) -> "Limits":
    from sandbox import Limits

    return Limits(memory_bytes=mebibytes * _MEBIBYTE)


async def _check_all(
    programs: "Sequence[Solution]", limits: "Limits", workers: int | None, output: Path | None, console: "Console"
) -> "list[CodeVerdict]":
    """Verdicts in the order of the programs, written down in the order in which they come."""
    import contextlib

    from sandbox import Sandbox
    from thor_ray.code_benchmarks import CodeJudge
    from thor_ray.files import atomic_path
    from thor_ray.progress import Progress

    try:
        sandbox = Sandbox(workers=workers, limits=limits)
    except ValueError as error:
        raise UserError(str(error), "--memory gives programs less") from error
    verdicts: dict[int, CodeVerdict] = {}
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        lines = None
        if output is not None:
            lines = stack.enter_context(stack.enter_context(atomic_path(output)).open("w", encoding="ascii"))
        display = stack.enter_context(Progress(console))
        stage = stack.enter_context(display.stage("check", len(programs)))
        async with sandbox:
            in_flight = _IN_FLIGHT_PER_WORKER * (workers or len(os.sched_getaffinity(0)))
            async for index, verdict in _verdicts(programs, CodeJudge(sandbox), in_flight):
                verdicts[index] = verdict
                counts[verdict.status] += 1
                if lines is not None:
                    lines.write(json.dumps(_line(programs[index], verdict)) + "\n")
                stage.advance(counts)
    return [verdicts[index] for index in range(len(programs))]


def _verdicts(
    programs: "Sequence[Solution]", judge: "CodeJudge", in_flight: int
) -> "AsyncIterator[tuple[int, CodeVerdict]]":
    from thor_ray.code_benchmarks.judging import in_order_of_end
    from thor_ray.code_benchmarks.verdict import CodeStatus, CodeVerdict

    async def one(index: int, solution: "Solution") -> tuple[int, CodeVerdict]:
        if solution.program is None:
            return index, CodeVerdict(solution.problem.id, CodeStatus.NO_CODE, "the response holds no program")
        return index, await judge.check(solution.problem, solution.program)

    return in_order_of_end((partial(one, index, solution) for index, solution in enumerate(programs)), in_flight)


def _line(solution: "Solution", verdict: "CodeVerdict") -> dict[str, object]:
    made = {} if solution.mutant is None else {"line": solution.mutant.line, "change": solution.mutant.change}
    return verdict.to_json() | {"sample_index": solution.sample_index} | made


def _print_survivors(programs: "Sequence[Solution]", verdicts: "Sequence[CodeVerdict]") -> None:
    survivors = [one for one, verdict in zip(programs, verdicts, strict=True) if verdict.passed]
    if survivors:
        typer.echo("survivors, whose change no test sees or nobody could see:")
    for one in survivors:
        assert one.mutant is not None
        typer.echo(f"  {one.problem.id} line {one.mutant.line}: {one.mutant.change}")


def _print_failures(verdicts: "Sequence[CodeVerdict]", console: "Console") -> None:
    failures = [verdict for verdict in verdicts if not verdict.passed]
    for verdict in failures[:_MOST_FAILURES_SHOWN]:
        where = f" ({verdict.failed_suite} test {verdict.failed_test})" if verdict.failed_suite else ""
        console.print(f"{verdict.id}: {verdict.status}{where}: {verdict.reason}", markup=False)
    if len(failures) > _MOST_FAILURES_SHOWN:
        console.print(f"... and {len(failures) - _MOST_FAILURES_SHOWN} more; --output writes all of them", markup=False)
