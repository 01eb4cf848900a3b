"""``thor report``, ``thor show``, ``thor doctor``, ``thor version``: looking at runs and at the machine."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from thor_ray.doctor import Check

RunArgument = Annotated[str, typer.Argument(help="A run's name below runs/, or the path of its directory.")]


class StatusFilter(StrEnum):
    """Which trajectories ``thor show`` lists."""

    CORRECT = "correct"
    WRONG = "wrong"
    FAILED_CODE = "failed-code"


class KindFilter(StrEnum):
    """Levels of the hierarchy."""

    EPISODE = "episode"
    STEP = "step"


def report(run: RunArgument) -> None:
    """Rebuild report.json, .md and .html from what the run has recorded, and print the table."""
    from thor_ray.errors import UserError
    from thor_ray.evaluation.store import FOLDER
    from thor_ray.report import write_report
    from thor_ray.report_table import print_report_table
    from thor_ray.run_directory import RunDirectory

    directory = RunDirectory.find(run)
    if (directory.path / FOLDER / "report.html").is_file():
        raise UserError(f"{run} is an evaluation", f"thor eval report {run}")
    console = Console()
    print_report_table(write_report(directory), console)
    console.print(
        f"{directory.report_json}\n{directory.report_markdown}\n{directory.report_html}",
        highlight=False,
        soft_wrap=True,
    )


def show(
    run: RunArgument,
    trajectory: Annotated[str | None, typer.Option("--trajectory", "-t", help="Print this one, by its id.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="With --trajectory: a table of every token.")] = False,
    stage: Annotated[str | None, typer.Option(help="Only of this stage, e.g. rl or evaluate_rl.")] = None,
    status: Annotated[StatusFilter | None, typer.Option(help="Only those that ended so.")] = None,
    kind: Annotated[KindFilter | None, typer.Option(help="Only of this level.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to list, the latest first.")] = 20,
) -> None:
    """Print one trajectory with its mask, weight versions and log-probs, or list what the run has recorded."""
    from thor_ray import show as rendering
    from thor_ray.run_directory import RunDirectory

    directory = RunDirectory.find(run)
    if trajectory is None:
        wanted = rendering.Selection(
            stage=None if stage is None else rendering.stage_named(stage),
            status=None if status is None else str(status),
            kind=None if kind is None else str(kind),
        )
        rendering.print_list(directory, wanted, limit, Console())
    else:
        rendering.print_trajectory(directory, trajectory, tokens, Console())


def doctor(
    recipe: Annotated[str | None, typer.Argument(help="Look at this recipe's model and problems as well.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON: name, verdict, found, remedy of each check.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the start of an engine, which takes longest.")
    ] = False,
) -> None:
    """Check whether this machine can run the loop, and say what to do where it cannot.

    Ends with code 1 if there is an error; warnings stop nothing.
    """
    import json
    from dataclasses import asdict

    from thor_ray.config import load_recipe
    from thor_ray.doctor import Verdict, examine

    checks = list(examine(None if recipe is None else load_recipe(recipe)))
    if not quick:
        from thor_ray.stages.engine_check import check_engine

        checks.append(check_engine())
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        print_checks(checks)
    if any(check.verdict is Verdict.ERROR for check in checks):
        raise typer.Exit(1)


def print_checks(checks: "Sequence[Check]") -> None:
    """The doctor's table."""
    from rich.table import Table
    from rich.text import Text

    from thor_ray.doctor import Verdict

    colours = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.ERROR: "red"}
    table = Table("", "check", box=None, pad_edge=False, header_style="bold")
    for heading in ("found", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        words = (check.name, check.found, check.remedy)
        table.add_row(Text(check.verdict, colours[check.verdict]), *map(Text, words))
    Console().print(table)


def version() -> None:
    """Print the versions of this project and of what decides its results."""
    from thor_ray.environment import source_commit, versions

    for name, number in versions().items():
        typer.echo(f"{name} {number}")
    if (commit := source_commit()) is not None:
        typer.echo(f"commit {commit}")
