"""``thor tirgen``: build demonstrations with a policy, or from worked solutions that lie in a file."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from thor_ray.cli import runs
from thor_ray.cli.runs import Overrides, Seed, settings_of
from thor_ray.cli.verbs import DEFAULT_VERB, DefaultVerbGroup

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.demonstrations import Funnel
    from thor_ray.tirgen import Difference, RewriteReport

EXAMPLE_HINT: Final = "rule, reason, how often, an example"


class RuleListName(StrEnum):
    """The lists in ``thor_ray.demonstrations.RULE_LISTS``."""

    OURS = "ours"
    PAPER = "paper"
    RELEASE = "release"


class ExportForm(StrEnum):
    """Lines that trainers take."""

    MESSAGES = "messages"
    SHAREGPT = "sharegpt"


app = typer.Typer(cls=DefaultVerbGroup, help="Build demonstrations of tool use, and look at how they came about.")


app.command(DEFAULT_VERB)(runs.tirgen)


@app.command()
def rewrite(
    source: Annotated[
        str, typer.Argument(help="Problems with worked solutions: a file, or `hf:owner/name:config:split`.")
    ],
    recipe: Annotated[str, typer.Option(help="Recipe whose policy, template and sandbox count.")] = "smoke",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many problems, drawn with the seed.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest demonstration, prompt included.")] = 4096,
    output: Annotated[
        Path | None,
        typer.Option(help="Write report, steps, and what is kept (messages and ShareGPT) into this directory."),
    ] = None,
    filters: Annotated[RuleListName, typer.Option(help="Rules that decide what is kept.")] = RuleListName.OURS,
    compare: Annotated[
        RuleListName | None, typer.Option(help="Print what this list makes of the same demonstrations, too.")
    ] = None,
    tests: Annotated[
        str | None, typer.Option(help="Reject problems of these test sets: benchmarks or files, commas between them.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where benchmark files lie, instead of THOR_DATA.")] = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Rewrite worked solutions with the symbolic refiner: no policy writes, but every program runs."""
    from rich.console import Console

    from thor_ray.config import load_recipe
    from thor_ray.demonstrations import RULE_LISTS, Circumstances, build_rules
    from thor_ray.problems import load_problems
    from thor_ray.progress import Progress
    from thor_ray.stages.plan import policy_directory
    from thor_ray.stages.worked_solutions import overlapping, rewrite_solutions, write_rewritten
    from thor_ray.tirgen import filter_difference

    settings = load_recipe(recipe, [*settings_of(seed=seed), *(overrides or [])])
    problems = load_problems(source, limit=limit, shuffle_seed=None if limit is None else settings.seed)
    model = policy_directory(settings)
    overlaps = {} if tests is None else overlapping(problems, tests.split(","), data_dir)
    lists = {name: [*([{"rule": "not_in_tests"}] if overlaps else []), *RULE_LISTS[name]] for name in RULE_LISTS}
    console = Console()
    with Progress(console) as progress, progress.stage("rewrite", len(problems)) as shown:
        rewritten = rewrite_solutions(
            problems, model, settings, max_tokens, rules=lists[filters], overlaps=overlaps, on_progress=shown.reach
        )
    _print_report(rewritten.report, console)
    difference = None
    if compare is not None:
        circumstances = Circumstances(max_tokens, seed=settings.seed, overlaps=overlaps)
        first, second = (build_rules(lists[name], circumstances) for name in (filters, compare))
        difference = filter_difference(rewritten.demonstrations, first, second)
        _print_difference(difference, filters, compare, console)
    if output is not None:
        write_rewritten(rewritten, problems, model, output, difference)
        console.print(f"written to {output}", highlight=False, soft_wrap=True)


@app.command("filter")
def refilter(
    run: Annotated[Path, typer.Argument(help="A run of `thor tirgen`, finished or not.")],
    filters: Annotated[RuleListName, typer.Option(help="Rules that decide what would be kept.")] = RuleListName.OURS,
    compare: Annotated[
        RuleListName | None, typer.Option(help="Print what this list makes of the same candidates, too.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest demonstration, prompt included; by default the recipe's context.")
    ] = None,
) -> None:
    """Filter the candidates of a run once more: the funnel of another list, and how two lists differ. Changes nothing."""
    from rich.console import Console

    from thor_ray.demonstrations import RULE_LISTS, Circumstances, Sieve, build_rules
    from thor_ray.run_directory import RunDirectory
    from thor_ray.stages.difficulty import DIFFICULTY, DifficultyLog
    from thor_ray.tirgen import filter_difference, inspection, ledger

    directory = RunDirectory.find(run)
    recipe, place = directory.recipe(), directory.path / inspection.FOLDER
    candidates = ledger.Ledger(place / ledger.FOLDER)
    demonstrations = [candidates.read(entry).demonstration for entry in candidates.entries()]
    circumstances = Circumstances(
        max_tokens or recipe.policy.max_context,
        every_block=recipe.tirgen.flawed_first == 0,
        seed=recipe.seed,
        solved_share=DifficultyLog(place / DIFFICULTY).shares(),
    )
    first = build_rules(RULE_LISTS[filters], circumstances)
    sieve = Sieve(first)
    sieve.sift(demonstrations)
    console = Console()
    _print_funnel(sieve.funnel(), console)
    if compare is not None:
        second = build_rules(RULE_LISTS[compare], circumstances)
        _print_difference(filter_difference(demonstrations, first, second), filters, compare, console)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run of `thor tirgen`.")],
    output: Annotated[Path, typer.Argument(help="The JSONL file; replaced where it exists.")],
    form: Annotated[ExportForm, typer.Option("--format", help="What a line looks like.")] = ExportForm.MESSAGES,
) -> None:
    """Write what was kept as JSONL for other trainers: `messages`, or `conversations` as ShareGPT has them."""
    from rich.console import Console

    from thor_ray.run_directory import RunDirectory
    from thor_ray.tirgen import dataset, inspection
    from thor_ray.tirgen.export import sharegpt_row

    place = RunDirectory.find(run).path / inspection.FOLDER / dataset.FOLDER
    lines = dataset.export_jsonl(place, output, sharegpt_row if form is ExportForm.SHAREGPT else dict)
    Console().print(f"{lines} demonstrations written to {output}", highlight=False, soft_wrap=True)


@app.command()
def inspect(
    run: Annotated[Path, typer.Argument(help="A run of `thor tirgen`, or what `rewrite --output` has written.")],
    problem: Annotated[str | None, typer.Option(help="Only of this problem, by its id.")] = None,
    kept: Annotated[bool | None, typer.Option("--kept/--rejected", help="Only what was kept, or was not.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only what this rule rejected.")] = None,
    verdict: Annotated[str | None, typer.Option(help="Only with a step of this verdict, e.g. stated_before.")] = None,
    agreement: Annotated[
        str | None, typer.Option(help="Only with a program whose output compares so: same, rounded, different.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    html: Annotated[Path | None, typer.Option(help="Write them as a page instead.")] = None,
) -> None:
    """Look at steps one by one: text, verdict, program, output, and whether it was kept or why not."""
    from rich.console import Console

    from thor_ray.files import write_text_atomically
    from thor_ray.tirgen import inspection

    path = inspection.steps_file(_run_path(run))
    wanted = inspection.Wanted(problem, kept, rule, verdict, agreement)
    shown, matching, total = inspection.chosen(inspection.read_candidates(path), wanted, limit)
    console = Console(highlight=False)
    if html is not None:
        write_text_atomically(html, inspection.candidates_page(str(run), shown, total))
        console.print(f"{len(shown)} of {matching} written to {html}", soft_wrap=True)
        return
    with console.pager(styles=True) if console.is_terminal else nullcontext():
        for candidate in shown:
            console.print(inspection.candidate_text(candidate))
        console.print(f"{len(shown)} shown, {matching} match, {total} in all")


def _run_path(run: Path) -> Path:
    """A path as it stands, or a run's name below ``runs/``."""
    from thor_ray.run_directory import RUNS

    return run if run.exists() or not (RUNS / run).exists() else RUNS / run


def _print_report(report: "RewriteReport", console: "Console") -> None:
    from thor_ray.tirgen import claim_table, verdict_table

    _print_table(("worked solutions", "", ""), verdict_table(report), console)
    _print_table(("computation", "programs", "ran", "agree", "rounded", "differ"), claim_table(report), console)
    _print_funnel(report.funnel, console)


def _print_funnel(funnel: "Funnel", console: "Console") -> None:
    from thor_ray.tirgen import funnel_table

    _print_table(("filter", "entered", "rejected", "reasons: how often, an example"), funnel_table(funnel), console)


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], console: "Console") -> None:
    from rich.table import Table

    table = Table()
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 or heading.startswith("reasons") else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_difference(difference: "Difference", first: str, second: str, console: "Console") -> None:
    from rich.table import Table

    table = Table()
    for heading in (f"{first} against {second}", "demonstrations", f"why the other list rejects them: {EXAMPLE_HINT}"):
        table.add_column(heading, justify="right" if heading == "demonstrations" else "left")
    table.add_row("kept by both", str(difference.both), "")
    for name, side in ((first, difference.only_first), (second, difference.only_second)):
        told = "\n".join(
            f"{reason} {count}: {next(identity for identity, why in side.examples if why == reason)}"
            for reason, count in side.reasons.most_common()
        )
        table.add_row(f"kept by {name} alone", str(len(side.ids)), told)
    table.add_row("rejected by both", str(difference.neither), "")
    console.print(table)
