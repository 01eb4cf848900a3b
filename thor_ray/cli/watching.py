"""``thor dashboard``: a page over runs, live or years later."""

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
