"""``thor solve``: one question, answered with tools."""

from pathlib import Path
from typing import Annotated

import typer

from thor_ray.cli.runs import Overrides, Seed


def solve(
    question: Annotated[str, typer.Argument(help="A mathematics problem in plain text or LaTeX.")],
    model: Annotated[Path | None, typer.Option(help="Hugging Face directory, e.g. a run's checkpoints/rl.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Independent solutions to sample.")] = 1,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a YAML file.")] = "smoke",
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Answer one question: think, run code, correct failed steps, and show it all."""
    from rich.console import Console
    from rich.text import Text

    from thor_ray.config import load_recipe
    from thor_ray.records import Record, Stage
    from thor_ray.segments import discarded_texts, segment_texts
    from thor_ray.show import print_record
    from thor_ray.stages.plan import policy_directory
    from thor_ray.stages.solve import solve_question

    settings = list(overrides or [])
    settings += [] if model is None else [f"policy.model={model}"]
    settings += [] if seed is None else [f"seed={seed}"]
    resolved = load_recipe(recipe, settings)
    directory = policy_directory(resolved)
    console = Console()
    with console.status("starting the engine"):
        group, decode = solve_question(question, resolved, directory, samples)
    for trajectory in group.trajectories:
        texts, discarded = segment_texts(trajectory, decode), discarded_texts(trajectory, decode)
        record = Record(trajectory, group.uid, group.kind, None, Stage.SOLVE, 0, texts, discarded)
        print_record(record, decode, False, console)
        console.print(Text(f"answer: {trajectory.answer or 'none'}", "bold"))
