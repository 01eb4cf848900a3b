"""``thor eval``: evaluate a policy or recorded responses; ``thor eval compare`` and its kin look at what came out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from thor_ray.cli.runs import (
    DryRun,
    Launch,
    Model,
    Name,
    Overrides,
    Overwrite,
    Problems,
    RecipeArgument,
    Resume,
    RunDir,
    Seed,
    check_machine_for_engines,
    opened_run,
    resolve,
    settings_of,
)
from thor_ray.cli.verbs import DEFAULT_VERB, DefaultVerbGroup
from thor_ray.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.evaluation.figures import About, EvaluationReport
    from thor_ray.evaluation.samples import EvaluationSample
    from thor_ray.evaluation.sections import Section, Table
    from thor_ray.evaluation.store import EvaluationDirectory
    from thor_ray.grading import GraderPool

COLUMN_GAP: Final = 2
SHOWN_SECTIONS: Final = 3
"""Sections of a report that are printed; files have all."""

EvaluationName = Annotated[
    str, typer.Argument(help="A run, its directory or a file of evaluation rows; NAME:PART where it holds several.")
]
Output = Annotated[Path | None, typer.Option(help="Write Markdown, JSON and a page into this directory, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; `thor eval schema` documents it.")]
BootstrapSeed = Annotated[int, typer.Option(min=0, help="Of the intervals.")]


app = typer.Typer(cls=DefaultVerbGroup, help="Evaluate a policy, or recorded responses; compare evaluations.")


@app.command(
    DEFAULT_VERB,
    epilog="`thor eval compare A B` compares two evaluations, `thor eval report A` shows one, `thor eval schema` "
    "documents their JSON. The verb `run` may be left out.",
)
def evaluate(
    recipe: RecipeArgument = "smoke",
    problems: Problems = None,
    model: Model = None,
    benchmarks: Annotated[
        str | None,
        typer.Option(help="Registered benchmarks, commas between them; by default the recipe's held-out problems."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Per problem; by default as many as is usual for each benchmark.")
    ] = None,
    self_correct: Annotated[
        bool, typer.Option("--self-correct", help="With self-correction, by the recipe's strategy.")
    ] = False,
    strategies: Annotated[
        list[str] | None,
        typer.Option("--strategy", help="How: none, action_only, step_suffix or full_replan; may be repeated."),
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(help="Score these without a model: JSONL with `id` and `response` a line, for --problems."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where benchmark files lie, instead of THOR_DATA.")] = None,
    seed: Seed = None,
    overrides: Overrides = None,
    name: Name = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Evaluate a policy: avg@k, pass@k, majority@k, code, tokens, all with intervals."""
    if benchmarks is not None and problems is not None:
        raise UserError("--benchmarks and --problems exclude each other", "give one of them")
    if self_correct and "none" in (strategies or []):
        raise UserError("--self-correct and --strategy none exclude each other", "leave out --self-correct")
    if responses is None:
        settings = [
            *settings_of(model=model, heldout=problems, seed=seed),
            *_evaluation_settings(benchmarks, samples, data_dir),
            *(overrides or []),
        ]
        if self_correct or strategies:
            settings.append(f"evaluation.strategies={json.dumps(_strategies(recipe, settings, strategies or []))}")
        evaluate_policy(Launch("eval", recipe, settings, name or "eval", run_dir, resume, overwrite, dry_run))
        return
    given = {
        "RECIPE": recipe != "smoke",
        "--model": model is not None,
        "--samples": samples is not None,
        "--self-correct": self_correct,
        "--strategy": bool(strategies),
        "--set": bool(overrides),
        "--dry-run": dry_run,
    }
    _refuse("beside --responses", given)
    source = problems if benchmarks is None else benchmarks
    if source is None:
        raise UserError("--responses need their problems", "name them by --benchmarks or --problems")
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other", "give one of them")
    place = _place_of_responses(run_dir, name or responses.stem)
    score_responses(responses, source, place, data_dir=data_dir, seed=seed or 0, resume=resume, overwrite=overwrite)


@app.command()
def compare(
    a: EvaluationName,
    b: EvaluationName,
    output: Output = None,
    seed: BootstrapSeed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations on the problems that both have judged, by paired tests."""
    from rich.console import Console

    from thor_ray.evaluation.comparison import comparison_report
    from thor_ray.evaluation.comparison_tables import comparison_sections
    from thor_ray.evaluation.sources import find_evaluation
    from thor_ray.evaluation.writers import write_comparison

    first, second = find_evaluation(a), find_evaluation(b)
    report = comparison_report(first.samples, second.samples, first.about, second.about, seed=seed)
    written = [] if output is None else write_comparison(output, report)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        return
    console = Console()
    console.print(f"a: {report.a.name}\nb: {report.b.name}", highlight=False, soft_wrap=True)
    print_sections(comparison_sections(report)[:SHOWN_SECTIONS], console)
    _print_paths(written, console)


@app.command()
def report(
    evaluation: EvaluationName,
    output: Output = None,
    seed: BootstrapSeed = 0,
    as_json: AsJson = False,
) -> None:
    """Show an evaluation that lies there already, or write its report."""
    from rich.console import Console

    from thor_ray.evaluation.evaluation_tables import evaluation_sections
    from thor_ray.evaluation.sources import find_evaluation
    from thor_ray.evaluation.writers import write_evaluation
    from thor_ray.grading import GraderPool

    found = find_evaluation(evaluation)
    with GraderPool() as grader:
        built = _report(found.samples, found.about, grader, seed)
    written = [] if output is None else write_evaluation(output, built)
    if as_json:
        typer.echo(built.model_dump_json(indent=2))
        return
    console = Console()
    print_sections(evaluation_sections(built)[:SHOWN_SECTIONS], console)
    _print_paths(written, console)


@app.command()
def schema() -> None:
    """Print the JSON Schema of reports and comparisons: every field, and what it means."""
    from pydantic import TypeAdapter

    from thor_ray.evaluation.figures import ComparisonReport, EvaluationReport

    typer.echo(json.dumps(TypeAdapter(EvaluationReport | ComparisonReport).json_schema(), indent=2, ensure_ascii=False))


def evaluate_policy(launch: Launch) -> None:
    """Samples what has not been sampled yet, then reports."""
    from rich.console import Console

    from thor_ray.grading import GraderPool
    from thor_ray.progress import Progress
    from thor_ray.stages.evaluation_plan import make_evaluation_plan, print_evaluation_plan

    recipe, path = resolve(launch)
    plan, console = make_evaluation_plan(recipe), Console()
    print_evaluation_plan(plan, console)
    check_machine_for_engines(plan.model, recipe.engine.actors, path)
    if launch.dry_run:
        return
    from thor_ray.stages.evaluate import stream_evaluation

    with opened_run(launch, recipe, path) as log:
        with Progress(console) as progress:
            directory = stream_evaluation(plan, log, progress)
        with GraderPool() as grader:
            report_evaluation(directory, grader, recipe.seed, console)
    console.print(f"look at samples: thor show {path}", highlight=False, soft_wrap=True)


def _evaluation_settings(benchmarks: str | None, samples: int | None, data_dir: Path | None) -> list[str]:
    """Overrides that options of ``thor eval`` stand for."""
    settings = []
    if benchmarks is not None:
        settings.append(f"evaluation.benchmarks={json.dumps([name.strip() for name in benchmarks.split(',')])}")
    if samples is not None:
        settings.append(f"evaluation.samples_per_problem={samples}")
    if data_dir is not None:
        settings.append(f"problems.data_dir={json.dumps(str(data_dir))}")
    return settings


def _strategies(recipe: str, settings: Sequence[str], named: Sequence[str]) -> list[str | None]:
    """The repair strategies that are named; the recipe's own where none is.

    Raises:
        UserError: there is no such strategy.
    """
    from thor_ray.config import RepairStrategy, load_recipe
    from thor_ray.evaluation.samples import NO_CORRECTION

    known = [NO_CORRECTION, *RepairStrategy]
    if unknown := [name for name in named if name not in known]:
        raise UserError(f"there is no repair strategy {unknown[0]!r}", f"choose from {', '.join(known)}")
    if not named:
        return [load_recipe(recipe, list(settings)).evaluation.correction.strategy]
    return [None if name == NO_CORRECTION else name for name in named]


def score_responses(
    responses: Path,
    source: str | Path,
    path: Path,
    *,
    data_dir: Path | None,
    seed: int,
    resume: bool,
    overwrite: bool,
) -> None:
    """Grades recorded responses and reports them."""
    from rich.console import Console
    from rich.text import Text

    from thor_ray.evaluation.scoring import prepare_scoring, score
    from thor_ray.evaluation.store import FOLDER, EvaluationDirectory
    from thor_ray.grading import GraderPool
    from thor_ray.progress import Progress

    if (path / "progress.json").exists():
        raise UserError(f"{path} is a run of another verb", "choose another place with --run-dir or --name")
    scoring = prepare_scoring(responses, source, path.name, data_dir)
    directory, console = EvaluationDirectory(path / FOLDER), Console()
    if resume:
        directory.resume(scoring.about)
    else:
        directory.create(scoring.about, overwrite=overwrite)
    if scoring.unanswered:
        console.print(Text(f"{scoring.unanswered} of {len(scoring.problems)} problems have no response", "yellow"))
    with GraderPool() as grader:
        with Progress(console) as progress, progress.stage("grading", len(scoring.responses)) as bar:
            score(scoring, directory, grader, lambda _: bar.advance())
        report_evaluation(directory, grader, seed, console)


def report_evaluation(directory: "EvaluationDirectory", grader: "GraderPool", seed: int, console: "Console") -> None:
    """Writes the reports of an evaluation that is complete, and prints what everybody looks at first."""
    from thor_ray.evaluation.evaluation_tables import evaluation_sections
    from thor_ray.evaluation.writers import write_evaluation

    built = _report(directory.samples(), directory.about(), grader, seed)
    print_sections(evaluation_sections(built)[:SHOWN_SECTIONS], console)
    _print_paths(write_evaluation(directory.path, built), console)


def print_sections(sections: "Sequence[Section]", console: "Console") -> None:
    """Prints sections of a report as tables with their notes."""
    from rich.text import Text

    for section in sections:
        console.print(Text(f"\n{section.title}", "bold"))
        for table in section.tables:
            _print_table(table, console)
        for note in section.notes:
            console.print(Text(note, "dim"))


def _print_table(table: "Table", console: "Console") -> None:
    """Prints as many columns as there is room for, from the left; words may wrap, figures may not."""
    from rich import table as rich
    from rich.text import Text

    narrowest, widest = [], []
    for heading, numeric, *cells in zip(table.headings, table.numeric, *(row.cells for row in table.rows), strict=True):
        unbroken = [*heading.split(), *(cells if numeric else [word for cell in cells for word in cell.split()])]
        narrowest.append(max(map(len, unbroken)))
        widest.append(max(map(len, [heading, *cells])))
    while len(narrowest) > 1 and sum(narrowest) + COLUMN_GAP * (len(narrowest) - 1) > console.width:
        narrowest.pop()
    room = console.width - sum(narrowest) - COLUMN_GAP * (len(narrowest) - 1)
    shown = rich.Table(box=None, pad_edge=False, header_style="bold")
    for heading, numeric, least, most in zip(table.headings, table.numeric, narrowest, widest, strict=False):
        more = max(0, min(most - least, room))
        room -= more
        shown.add_column(Text(heading), justify="right" if numeric else "left", width=least + more)
    for row in table.rows:
        shown.add_row(*map(Text, row.cells[: len(narrowest)]), style="bold" if row.ours else None)
    console.print(shown)


def _report(
    samples: "Sequence[EvaluationSample]", about: "About", grader: "GraderPool", seed: int
) -> "EvaluationReport":
    from thor_ray.evaluation.analysis import evaluation_report
    from thor_ray.evaluation.answers import graded_equal

    try:
        return evaluation_report(samples, about, equivalent=graded_equal(grader.grade_answer), seed=seed)
    except ValueError as error:
        raise UserError(f"{about.name}: {error}", "look at what failed: `thor show`") from error


def _print_paths(paths: "Iterable[Path]", console: "Console") -> None:
    for path in paths:
        console.print(str(path), highlight=False, soft_wrap=True)


def _place_of_responses(run_dir: Path | None, name: str) -> Path:
    from thor_ray.run_directory import RUNS

    return run_dir or RUNS / name


def _refuse(where: str, given: Mapping[str, bool]) -> None:
    """Refuses options that would do nothing (invariant 13)."""
    if useless := [name for name, used in given.items() if used]:
        raise UserError(f"{', '.join(useless)} would do nothing {where}", "leave it out")
