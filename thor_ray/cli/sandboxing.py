"""``thor sandbox``: run a program confined, see how well this machine confines, serve both over HTTP."""

import json
import sys
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from thor_ray.errors import UserError

if TYPE_CHECKING:
    from sandbox import Isolation, Result
    from sandbox.examination import Examination

MEBIBYTE: Final = 2**20
STANDARD_INPUT: Final = "-"

app = typer.Typer(no_args_is_help=True, help="Run programs that nobody has read: confined, warm, with hard limits.")

MinLevel = Annotated[
    int, typer.Option(help="The least isolation to run under; `thor sandbox check` says what there is.")
]
MaxLevel = Annotated[int, typer.Option(help="The most isolation to try; the highest that there is up to it is taken.")]
AllowInsecure = Annotated[
    bool, typer.Option("--allow-insecure", help="Run at level 0, which does not confine: for programs you trust.")
]


@app.command()
def run(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Python program; - reads it from standard input.")],
    timeout: Annotated[float, typer.Option(help="Wall-clock seconds, at most 60.")] = 5.0,
    seed: Annotated[int | None, typer.Option(help="Of random, NumPy and SymPy; by default one is drawn.")] = None,
    memory: Annotated[int, typer.Option(min=1, help="MiB above what the libraries take.")] = 512,
    stdin: Annotated[
        str | None, typer.Option(help="File that is the program's standard input; - passes ours on.")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="[NAME=]PATH", help="File for the program's directory; may be repeated."),
    ] = None,
    fetch: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="File to bring back from its directory to here; may be repeated."),
    ] = None,
    min_level: MinLevel = 2,
    max_level: MaxLevel = 4,
    allow_insecure: AllowInsecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole result as JSON; files in base64.")] = False,
) -> None:
    """Run one Python program in the sandbox. Ends with code 0 only if the program ran to its end without an error."""
    from sandbox import Limits, Request, Sandbox

    if stdin == file == STANDARD_INPUT:
        raise UserError("standard input cannot be both the program and its input", "give a file for one of them")
    try:
        request = Request(
            _decoded(_read(file), file),
            timeout=timeout,
            seed=seed,
            files=dict(map(_named_file, files or [])),
            fetch=tuple(fetch or ()),
            stdin=b"" if stdin is None else _read(stdin),
        )
        limits = Limits(memory_bytes=memory * MEBIBYTE)
        sandbox = Sandbox(
            workers=1, limits=limits, min_level=min_level, max_level=max_level, allow_insecure=allow_insecure
        )
        with sandbox:
            (result,) = sandbox.run_batch([request])
    except ValueError as error:
        raise UserError(str(error), "`thor sandbox run --help` says what can be given") from error
    if as_json:
        typer.echo(json.dumps(result_fields(result), indent=2))
        fetched = not result.files_refused
    else:
        fetched = _print_result(result)
    if not (result.ok and fetched):
        raise typer.Exit(1)


@app.command()
def check(as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False) -> None:
    """Say how well this machine confines programs, as tried out just now, and why not better. Code 1 if not well enough."""
    from sandbox.examination import examine

    try:
        found = examine()
    except ValueError as error:
        raise UserError(str(error)) from error
    if as_json:
        verdict = {"suffices": found.suffices, "remedy": found.remedy}
        typer.echo(json.dumps(asdict(found.isolation) | {"escapes": found.escapes} | verdict, indent=2))
    else:
        _print_examination(found)
    if not found.suffices:
        raise typer.Exit(1)


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others can reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="THOR_SANDBOX_TOKEN", show_envvar=True, help="What clients must know; better set the variable."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Warm processes; by default one per core.")] = None,
    memory: Annotated[
        int | None,
        typer.Option(min=1, help="MiB that one program may use; by default 1024, less on a small machine."),
    ] = None,
    queue: Annotated[int, typer.Option(help="Requests that may run or wait; one too many gets 429.")] = 1000,
    grace: Annotated[float, typer.Option(help="Seconds that programs may go on when the server is to stop.")] = 20.0,
    min_level: MinLevel = 2,
    max_level: MaxLevel = 4,
    allow_insecure: AllowInsecure = False,
) -> None:
    """Serve the sandbox over HTTP with SandboxFusion's POST /run_code. SIGTERM and Ctrl-C end it gracefully."""
    from sandbox import Sandbox
    from sandbox.http import CannotServe, ServerOptions, server_limits
    from sandbox.http import serve as serve_http

    try:
        options = ServerOptions(host, port, token, queue, grace)
        limits = server_limits(memory and memory * MEBIBYTE)
        sandbox = Sandbox(
            workers=workers, limits=limits, min_level=min_level, max_level=max_level, allow_insecure=allow_insecure
        )
    except (CannotServe, ValueError) as error:
        raise UserError(str(error)) from error

    def announce(address: str) -> None:
        typer.echo(f"serving on {address} at level {_level(sandbox.isolation)}", err=True)

    try:
        serve_http(sandbox, options, announce)
    except CannotServe as error:
        raise UserError(str(error)) from error


def result_fields(result: "Result") -> dict[str, Any]:
    """Every field of a result as JSON has it: statuses by name, levels by number, contents of files in base64."""
    files = {name: b64encode(content).decode("ascii") for name, content in result.files.items()}
    return asdict(result) | {"files": files}


def _read(path: str) -> bytes:
    """A file, or standard input for ``-``.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _decoded(program: bytes, path: str) -> str:
    try:
        return program.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8") from error


def _named_file(argument: str) -> tuple[str, bytes]:
    """What ``--file`` names: the file's name in the program's directory, and its content."""
    name, equals, path = argument.partition("=")
    if not equals:
        name, path = Path(argument).name, argument
    return name, _read(path)


def _print_result(result: "Result") -> bool:
    """Passes the program's output on, says in a line how it went, saves what was fetched; whether all of that was."""
    typer.echo(result.stdout.encode(), nl=False)
    typer.echo(result.stderr.encode(), nl=False, err=True)
    level = "" if result.isolation is None else f" at level {_level(result.isolation)}"
    cut = ", output cut" if result.truncated else ""
    typer.echo(f"{result.status} in {result.wall_ms:.0f} ms{level}{cut}", err=True)
    if result.isolation is None and result.exc_message:
        typer.echo(result.exc_message, err=True)
    for name, content in result.files.items():
        try:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)
        except OSError as error:
            raise UserError(f"{name} cannot be written: {error.strerror}") from error
    for name, reason in result.files_refused.items():
        typer.echo(f"{name} was not fetched: {reason}", err=True)
    return not result.files_refused


def _print_examination(found: "Examination") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    isolation = found.isolation
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("level", _level(isolation) + ("" if found.suffices else ", too low for programs that nobody has read")),
        ("Landlock", f"ABI {isolation.landlock_abi}" if isolation.landlock_abi else "none"),
        ("seccomp", isolation.seccomp or "none"),
        ("namespaces", "of its own" if isolation.namespaces else "none"),
        ("user", str(isolation.user_id)),
        *(("got through" if through else "held", attempt) for attempt, through in found.escapes.items()),
        *(("why not higher", shortfall) for shortfall in isolation.shortfalls),
        *([("for the next level", found.remedy)] if found.remedy else []),
    ]
    for name, value in rows:
        table.add_row(name, Text(value))
    Console().print(table)


def _level(isolation: "Isolation") -> str:
    return f"{isolation.level:d} ({isolation.level.name.lower()})"
