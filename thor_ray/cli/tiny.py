"""``thor tiny``: the small policy that the smoke starts from."""

from pathlib import Path
from typing import Annotated

import typer

from thor_ray.errors import UserError

app = typer.Typer(no_args_is_help=True, help="The tiny policy that ships with the package.")


@app.callback()
def group() -> None:
    """Keeps ``pretrain`` a verb of its own while it is the only one."""


@app.command()
def pretrain(
    output: Annotated[Path, typer.Argument(help="Directory of the new checkpoint; an earlier one there is replaced.")],
    seed: Annotated[int, typer.Option(help="Of the data and the initial weights.")] = 0,
    updates: Annotated[int | None, typer.Option(min=1, help="Optimiser updates; the default made the base.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Documents an update; by default the base's.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; the result is repeatable for one.")] = 1,
) -> None:
    """Train the tiny base model from nothing: tokenizer, weights, model card. Up to an hour on two cores."""
    from rich.console import Console

    from thor_ray import progress as display
    from thor_ray.files import require_free_space
    from thor_ray.tiny.pretrain import PretrainConfig, Progress
    from thor_ray.tiny.pretrain import pretrain as train

    require_free_space(output, 100)
    given = {"updates": updates, "batch_size": batch_size}
    settings = PretrainConfig(
        seed=seed, threads=threads, **{name: value for name, value in given.items() if value is not None}
    )
    console = Console()
    with display.Progress(console) as stages, stages.stage("pretrain", settings.updates) as stage:

        def show(progress: Progress) -> None:
            stage.reach(
                progress.update,
                {
                    "loss": progress.loss,
                    "digit copy": progress.copy_accuracy,
                    "tokens/s": progress.tokens_per_second,
                },
            )

        try:
            report = train(output, settings, on_progress=show)
        except FileExistsError as error:
            raise UserError(str(error), "give another directory") from error
    console.print(f"{output}: {report.parameters:,} parameters, loss {report.loss:.3f}, {report.seconds / 60:.1f} min")
