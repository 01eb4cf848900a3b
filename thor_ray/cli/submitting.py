"""``thor submit``, ``attach``, ``stop``: runs as jobs of a Ray cluster, which go on whoever watches."""

import asyncio
import re
import shlex
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from thor_ray.errors import UserError

EXCLUDES: Final = (".git", ".venv*", "__pycache__", "runs", "data", "models", "*.safetensors", "*.parquet", ".*_cache")
"""What is not sent along with the working directory: caches, and what is large and belongs on shared storage."""

STOP_SECONDS: Final = 120
"""How long a job that is stopped may take to end its actors in order, before Ray kills it; by itself Ray grants 3 s."""

POLL_SECONDS: Final = 1.0

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8265"

Address = Annotated[
    str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Of the cluster's dashboard, as in http://HEAD:8265.")
]
Job = Annotated[str, typer.Argument(help="Id of the job, as `thor submit` printed it.")]


class Verb(StrEnum):
    """What can be submitted."""

    TRAIN = "train"
    SMOKE = "smoke"
    SFT = "sft"
    TIRGEN = "tirgen"


def submit(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a file below the working directory.")],
    runs: Annotated[
        Path, typer.Option(help="Folder for run directories, on storage that all nodes of the cluster share.")
    ],
    address: Address = DEFAULT_ADDRESS,
    verb: Annotated[Verb, typer.Option(help="What to run.")] = Verb.TRAIN,
    name: Annotated[str | None, typer.Option(help="Of the run; by default the recipe's.")] = None,
    working_dir: Annotated[
        Path, typer.Option(help="Folder that is sent along, without data, models and runs.")
    ] = Path(),
    follow: Annotated[bool, typer.Option("--follow", help="Stay and show the log, as `thor attach` does.")] = False,
) -> None:
    """Run a recipe as a job of a Ray cluster; all other options are those of the verb.

    The job goes on when this machine disconnects. Submitted again under the same name it resumes.
    """
    job_name = name or re.sub(r"[^\w.-]", "-", Path(recipe).stem)
    entrypoint = job_command(verb, recipe, runs / job_name, job_name, context.args)
    environment = {
        "working_dir": str(working_dir.resolve()),
        "excludes": list(EXCLUDES),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), "PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
    }
    job = f"thor-{job_name}-{uuid.uuid4().hex[:6]}"
    with connected(address) as client:
        client.submit_job(
            entrypoint=entrypoint, runtime_env=environment, submission_id=job, metadata={"name": job_name}
        )
        typer.echo(f"job {job}: {entrypoint}")
        typer.echo(f"watch it: thor attach {job} --address {address}\nstop it:  thor stop {job} --address {address}")
        if follow:
            _follow(client, job, address)


def attach(job: Job, address: Address = DEFAULT_ADDRESS) -> None:
    """Show a job's log until it ends, and how it ended; Ctrl-C leaves it running.

    Ends with code 1 if the job failed.
    """
    with connected(address) as client:
        _follow(client, job, address)


def stop(job: Job, address: Address = DEFAULT_ADDRESS) -> None:
    """Stop a job: its actors end in order, and its newest checkpoint stays; submit it again to go on."""
    with connected(address) as client:
        client.stop_job(job)
        deadline = time.monotonic() + 2 * STOP_SECONDS
        while not (status := client.get_job_status(job)).is_terminal():
            if time.monotonic() > deadline:
                raise UserError(f"{job} has not ended after {2 * STOP_SECONDS} s", f"look at {address}/#/jobs/{job}")
            time.sleep(POLL_SECONDS)
    typer.echo(f"{job}: {status.value.lower()}")


def job_command(verb: Verb, recipe: str, run_dir: Path, name: str, options: Sequence[str]) -> str:
    """The command of a job, for the shell of the cluster's head."""
    # `thor smoke` has its recipe built in.
    recipes = [] if verb is Verb.SMOKE else [recipe]
    words = [verb.value, *recipes, "--name", name, "--run-dir", str(run_dir), *options]
    return shlex.join(["python", "-m", "thor_ray.cli.job", *words])


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the cluster's job server, whose errors say what to do.

    Raises:
        UserError: the cluster does not answer, asks for a token, or does not know the job.
    """
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        yield JobSubmissionClient(address)
    except AuthenticationError as error:
        # Its first line says whether a token is missing or wrong.
        raise UserError(
            f"{address}: {str(error).splitlines()[0]}",
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token to the cluster's token",
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"no Ray cluster answers at {address}", "name its dashboard: --address http://HEAD:8265"
        ) from error
    except RuntimeError as error:
        raise UserError(f"{address}: {str(error).strip().splitlines()[-1]}", "`ray job list` shows the jobs") from error


def _follow(client: Any, job: str, address: str) -> None:
    """Shows the log until the job ends or the user leaves.

    Raises:
        typer.Exit: code 1, the job failed.
    """
    status = client.get_job_status(job)
    typer.echo(f"{job}: {status.value.lower()}; Ray's page: {address}/#/jobs/{job}")
    try:
        asyncio.run(_print_log(client, job))
    except KeyboardInterrupt:
        typer.echo(f"\nleft; the job goes on: thor attach {job} --address {address}")
        return
    information = client.get_job_info(job)
    typer.echo(f"{job}: {information.status.value.lower()}")
    if information.status.value == "FAILED":
        typer.echo(information.message or "")
        raise typer.Exit(1)


async def _print_log(client: Any, job: str) -> None:
    async for text in client.tail_job_logs(job):
        typer.echo(text, nl=False)
