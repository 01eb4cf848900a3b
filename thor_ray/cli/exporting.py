"""``thor export``: a run's newest weights as a Hugging Face directory."""

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[str, typer.Argument(help="A run's name or directory, finished or not.")]


def export(
    run: RunArgument,
    output: Annotated[
        Path | None, typer.Option(help="New directory, by default export/ in the run directory.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies there.")] = False,
) -> None:
    """Write the newest weights of a run as a Hugging Face directory, which transformers and vLLM load.

    Of a run that is under way or was stopped, they are those of the newest checkpoint.
    """
    from rich.console import Console

    from thor_ray.run_directory import RunDirectory
    from thor_ray.stages.exporting import export_run

    exported = export_run(RunDirectory.find(run), output, overwrite=overwrite)
    Console().print(
        f"{exported.path}: weights {exported.version}, from {exported.origin}", highlight=False, soft_wrap=True
    )
