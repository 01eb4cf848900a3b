"""``thor dashboard``, ``thor logs``: a page over runs, and what their actors print; live or years later."""

from typing import Annotated

import typer


def dashboard(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN_DIR]...",
            help="Run names below runs/, or paths; several can be compared. By default all of runs/.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8700,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach needs a token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="THOR_DASHBOARD_TOKEN",
            show_envvar=True,
            help="What a browser has to bring; better set the variable.",
        ),
    ] = None,
) -> None:
    """Serve a page of a run's rollouts, groups, step trees and metrics, which follows the run as long as it goes on."""
    from thor_ray.dashboard import DashboardOptions, serve
    from thor_ray.run_directory import RunDirectory

    directories = [RunDirectory.find(run) for run in runs or []]
    serve(directories, DashboardOptions(host, port, token), lambda address: typer.echo(f"dashboard: {address}"))


def logs(
    run: Annotated[str, typer.Argument(help="A run's name below runs/, or the path of its directory.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is printed from now on, until the run ends.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the latest lines.")] = 100,
    actor: Annotated[
        str | None, typer.Option(help="Only of this actor: its name, its process, or the beginning of `NAME PROCESS`.")
    ] = None,
) -> None:
    """Print what a run's actors have printed, as one log: `actor process | line`."""
    from thor_ray.actor_log import followed, latest
    from thor_ray.run_directory import RunDirectory

    directory = RunDirectory.find(run)
    known, position = latest(directory, lines, actor)
    for line in known:
        typer.echo(line)
    if follow:
        for line in followed(directory, position, actor):
            typer.echo(line)
