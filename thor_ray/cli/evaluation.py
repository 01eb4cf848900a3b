"""``thor eval``: evaluate a policy or recorded responses; ``thor eval compare`` and its kin look at what came out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

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
    resolve,
    settings_of,
    start,
)
from thor_ray.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.evaluation.figures import About, EvaluationReport
    from thor_ray.evaluation.samples import EvaluationSample
    from thor_ray.evaluation.sections import Section, Table
    from thor_ray.evaluation.store import EvaluationDirectory
    from thor_ray.grading import GraderPool

DEFAULT_VERB: Final = "run"
COLUMN_GAP: Final = 2
SHOWN_SECTIONS: Final = 3
"""Sections of a report that are printed; files have all."""

EvaluationName = Annotated[
    str, typer.Argument(help="A run, its directory or a file of evaluation rows; NAME:PART where it holds several.")
]
Output = Annotated[Path | None, typer.Option(help="Write Markdown, JSON and a page into this directory, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; `thor eval schema` documents it.")]
BootstrapSeed = Annotated[int, typer.Option(min=0, help="Of the intervals.")]


class EvaluationVerbs(TyperGroup):
    """``thor eval`` is itself a verb, ``run``, unless the first word after it names another one."""

    @property
    def default_verb(self) -> Any:
        """The command that runs where none is named."""
        return self.commands[DEFAULT_VERB]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default verb in front of arguments that do not begin with a verb."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [DEFAULT_VERB, *args])


app = typer.Typer(cls=EvaluationVerbs, help="Evaluate a policy, or recorded responses; compare evaluations.")


@app.command(
    DEFAULT_VERB,
    epilog="`thor eval compare A B` compares two evaluations, `thor eval report A` shows one, `thor eval schema` "
    "documents their JSON. The verb `run` may be left out.",
)
def evaluate(
    recipe: RecipeArgument = "smoke",
    problems: Problems = None,
    model: Model = None,
    correct: Annotated[bool, typer.Option("--correct", help="Evaluate with self-correction as well.")] = False,
    responses: Annotated[
        Path | None,
        typer.Option(help="Score these without a model: JSONL with `id` and `response` a line, for --problems."),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="With --responses: a registered benchmark, instead of --problems.")
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
    if responses is None:
        _refuse("without --responses", {"--benchmark": benchmark is not None, "--data-dir": data_dir is not None})
        settings = [*settings_of(model=model, heldout=problems, seed=seed), *(overrides or [])]
        launch = Launch("eval", recipe, settings, name or "eval", run_dir, resume, overwrite, dry_run)
        evaluate_policy(launch, correct)
        return
    given = {"RECIPE": recipe != "smoke", "--model": model is not None, "--correct": correct, "--set": bool(overrides)}
    _refuse("beside --responses", given | {"--dry-run": dry_run})
    if (benchmark is None) == (problems is None):
        raise UserError("--responses need their problems", "name them by --benchmark or --problems, one of both")
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other", "give one of them")
    source: str | Path | None = benchmark if benchmark is not None else problems
    assert source is not None, "one of the two is given"
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


def evaluate_policy(launch: Launch, correct: bool) -> None:
    """Runs an evaluation on engines, and reports its rows beside the run's own report."""
    from rich.console import Console

    from thor_ray.evaluation.sources import stage_evaluation, with_problems
    from thor_ray.evaluation.store import FOLDER, EvaluationDirectory, write_samples
    from thor_ray.grading import GraderPool
    from thor_ray.run_directory import RunDirectory
    from thor_ray.stages.plan import EVALUATE, EVALUATE_CORRECTING
    from thor_ray.stages.problem_sets import read_problems

    stages = EVALUATE_CORRECTING if correct else EVALUATE
    start(launch, stages)
    if launch.dry_run:
        return
    recipe, path = resolve(launch)
    problems = {problem.id: problem for problem in read_problems(recipe.problems.heldout, "heldout", recipe.seed)}
    found = [stage_evaluation(RunDirectory(path), stage) for stage in stages]
    samples = with_problems([sample for one in found for sample in one.samples], problems)
    # The last one says how failed steps are corrected, the other settings are the same.
    about = found[-1].about.model_copy(update={"name": path.name, "source": str(path)})
    directory = EvaluationDirectory(path / FOLDER)
    directory.create(about, overwrite=True)
    write_samples(directory.samples_file, samples)
    with GraderPool() as grader:
        report_evaluation(directory, grader, recipe.seed, Console())


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
