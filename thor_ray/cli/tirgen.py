"""``thor tirgen``: build demonstrations with a policy, or from worked solutions that lie in a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thor_ray.cli import runs
from thor_ray.cli.runs import Overrides, Seed, settings_of
from thor_ray.cli.verbs import DEFAULT_VERB, DefaultVerbGroup

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.tirgen import RewriteReport

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
        Path | None, typer.Option(help="Write report.json, steps.jsonl and messages.jsonl into this directory.")
    ] = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Rewrite worked solutions with the symbolic refiner: no policy writes, but every program runs."""
    from rich.console import Console

    from thor_ray.config import load_recipe
    from thor_ray.problems import load_problems
    from thor_ray.progress import Progress
    from thor_ray.stages.plan import policy_directory
    from thor_ray.stages.worked_solutions import rewrite_solutions, write_rewritten

    settings = load_recipe(recipe, [*settings_of(seed=seed), *(overrides or [])])
    problems = load_problems(source, limit=limit, shuffle_seed=None if limit is None else settings.seed)
    model = policy_directory(settings)
    console = Console()
    with Progress(console) as progress, progress.stage("rewrite", len(problems)) as shown:
        rewritten = rewrite_solutions(problems, model, settings, max_tokens, shown.reach)
    _print_report(rewritten.report, console)
    if output is not None:
        write_rewritten(rewritten, problems, model, output)
        console.print(f"written to {output}", highlight=False, soft_wrap=True)


def _print_report(report: "RewriteReport", console: "Console") -> None:
    from rich.table import Table

    from thor_ray.tirgen import claim_table, funnel_table, verdict_table

    for headings, rows in (
        (("worked solutions", "", ""), verdict_table(report)),
        (("computation", "programs", "ran", "agree", "rounded", "differ"), claim_table(report)),
        (("filter", "entered", "rejected", "reasons"), funnel_table(report.funnel)),
    ):
        table = Table()
        for index, heading in enumerate(headings):
            table.add_column(heading, justify="left" if index == 0 or heading == "reasons" else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
