"""``thor study``: the paper's ablation in small."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thor_ray.cli.runs import Overrides
from thor_ray.errors import UserError

if TYPE_CHECKING:
    from thor_ray.stages.study import SeedPlan
    from thor_ray.study.design import StudyRun


def study(
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a YAML file.")] = "study",
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0 on.")] = 5,
    seed: Annotated[int | None, typer.Option(min=0, help="This one alone, in this process.")] = None,
    row: Annotated[str | None, typer.Option(help="Only what this row needs, such as T5; rows of knobs, too.")] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--knob", help="Rows for other settings of one knob; may be repeated.")
    ] = None,
    side_by_side: Annotated[
        int | None, typer.Option(min=1, help="Seeds at a time; by default one for each core.")
    ] = None,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Directory below runs/; by default the recipe's name.")] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(
            help="A study.json whose seeds were run elsewhere: they are reported with these, not run. May be repeated."
        ),
    ] = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Run nothing; report what there is.")] = False,
) -> None:
    """Check the paper's claims on the tiny policy: every row of its ablation, several seeds, one report.

    What is finished is never run again: the same command goes on after an interruption, and adds seeds and knobs.
    """
    from rich.console import Console

    from thor_ray.config import load_recipe
    from thor_ray.progress import Progress
    from thor_ray.run_directory import RUNS
    from thor_ray.stages.study import run_seed, run_side_by_side
    from thor_ray.study.design import ROWS
    from thor_ray.study.elsewhere import read_file
    from thor_ray.study.report import write_study

    wanted = _needed(row, knobs or [])
    place = RUNS / (name or load_recipe(recipe, overrides or []).name)
    console, included = Console(), include or []
    if not report_only:
        elsewhere = {result.seed for path in included for result in read_file(path)}
        numbers = [number for number in range(seeds) if number not in elsewhere] if seed is None else [seed]
        plans = {number: _seed_plan(place, recipe, overrides or [], number, wanted) for number in numbers}
        if seed is not None:
            with Progress(console) as progress:
                run_seed(plans[seed], progress)
        else:
            given = [
                *("--recipe", recipe, "--name", place.name),
                *(word for knob in knobs or [] for word in ("--knob", knob)),
                *(word for override in overrides or [] for word in ("--set", override)),
                *(() if row is None else ("--row", row)),
            ]
            commands = {number: ["study", "--seed", str(number), *given] for number in plans}
            at_a_time = side_by_side or len(os.sched_getaffinity(0))
            run_side_by_side(commands, place / "logs", at_a_time, console)
    if seed is None:
        for path in write_study(place, ROWS, included):
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _needed(label: str | None, knobs: list[str]) -> "tuple[StudyRun, ...]":
    """The runs behind one row, or all of the study's and those of the knobs."""
    from thor_ray.study.design import KNOBS, ROWS, RUNS, needed

    unknown = [knob for knob in knobs if knob not in KNOBS]
    if unknown:
        raise UserError(f"there is no knob {unknown[0]!r}", f"known: {', '.join(KNOBS)}")
    if label is None:
        return (*RUNS, *(run for knob in dict.fromkeys(knobs) for run in KNOBS[knob]))
    found = [row for row in ROWS if row.label.lower() == label.lower()]
    if not found:
        raise UserError(f"there is no row {label!r}", f"known: {', '.join(repr(row.label) for row in ROWS)}")
    everything = (*RUNS, *(run for runs in KNOBS.values() for run in runs))
    return needed(everything, found[0].run)


def _seed_plan(place: Path, recipe: str, overrides: list[str], seed: int, runs: "tuple[StudyRun, ...]") -> "SeedPlan":
    """Resolves the recipes of all runs now, so that a bad one is refused before anything is started."""
    from thor_ray.config import load_recipe
    from thor_ray.stages.study import SeedPlan

    recipes = {
        run: load_recipe(recipe, [*run.overrides, *overrides, f"seed={seed}", f'name="{run.name}"']) for run in runs
    }
    return SeedPlan(place, seed, recipes)
