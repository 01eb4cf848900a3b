"""``thor solve``: one question, answered with tools."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thor_ray.cli.runs import Overrides, Seed

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.stages.solve import Solver


def solve(
    question: Annotated[str, typer.Argument(help="A mathematics problem in plain text or LaTeX.")],
    model: Annotated[Path | None, typer.Option(help="Hugging Face directory, e.g. a run's checkpoints/rl.")] = None,
    count: Annotated[int, typer.Option("--n", min=1, help="Independent solutions to sample.")] = 1,
    self_correct: Annotated[
        bool, typer.Option("--self-correct", help="Throw failed steps away and sample them again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print solutions and answer as JSON.")] = False,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a YAML file.")] = "smoke",
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Answer one question: think, run code, read its output, and show it all as it comes."""
    from rich.console import Console

    from thor_ray.config import load_recipe
    from thor_ray.solutions import print_solution, solution_fields
    from thor_ray.stages.plan import policy_directory
    from thor_ray.stages.solve import solver

    settings = list(overrides or [])
    settings += [] if model is None else [f"policy.model={json.dumps(str(model))}"]
    settings += [] if seed is None else [f"seed={seed}"]
    resolved = load_recipe(recipe, settings)
    directory = policy_directory(resolved)
    console = Console(highlight=False, stderr=as_json)
    status = console.status("starting the engine")
    status.start()
    with solver(question, resolved, directory, self_correct) as ready:
        status.stop()
        if as_json:
            solutions = [solution_fields(each, ready.decode) for each in ready.sample(count)]
            typer.echo(json.dumps({"question": question, "solutions": solutions}, indent=2))
        elif count == 1:
            _watch(ready, console)
        else:
            for number, solution in enumerate(ready.sample(count), start=1):
                console.print(f"solution {number} of {count}", style="reverse")
                print_solution(solution, console, ready.decode)


def _watch(ready: "Solver", console: "Console") -> None:
    from actors.live import Executed, Sampled
    from thor_ray.solutions import SolutionPrinter

    printer = SolutionPrinter(console, ready.decode)
    for event in ready.watch():
        match event:
            case Sampled():
                printer.tokens(event)
            case Executed(result=result, discarded_tokens=discarded):
                printer.executed(result, corrected=discarded > 0)
            case _:
                printer.done(event.trajectory)
