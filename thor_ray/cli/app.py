"""The verbs, and what happens when one of them ends badly."""

import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from thor_ray.cli import (
    coding,
    configuration,
    evaluation,
    exporting,
    grading,
    inspection,
    planning,
    problems,
    rescoring,
    runs,
    sandboxing,
    solving,
    studying,
    submitting,
    tiny,
    tirgen,
    watching,
)
from thor_ray.errors import UserError, WorkerError

FAILED = 1
USER_ERROR = 2
INTERRUPTED = 130

app = typer.Typer(
    name="thor",
    help="Tool-integrated hierarchical RL for mathematics: cold start, RL, self-correcting evaluation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(runs.smoke)
app.command()(runs.train)
app.command()(runs.sft)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(submitting.submit)
app.command()(planning.plan)
app.command()(submitting.attach)
app.command()(submitting.stop)
app.command()(studying.study)
app.command()(solving.solve)
app.command()(grading.grade)
app.command()(grading.audit_golds)
app.command()(exporting.export)
app.command()(inspection.report)
app.command()(inspection.show)
app.command()(watching.dashboard)
app.command()(watching.logs)
app.command()(inspection.doctor)
app.command()(inspection.version)
evaluation.app.command()(rescoring.score)
evaluation.app.command()(rescoring.judge)
app.add_typer(evaluation.app, name="eval")
app.add_typer(tirgen.app, name="tirgen")
app.add_typer(configuration.app, name="config")
app.add_typer(problems.app, name="problems")
app.add_typer(coding.app, name="code")
app.add_typer(tiny.app, name="tiny")
app.add_typer(sandboxing.app, name="sandbox")


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors; may stand anywhere.")] = False,
) -> None:
    """Holds the options of all verbs; ``main`` has acted on them already."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs ``thor`` and exits: 0 all is well, 1 a check or a claim failed or a bug, 2 bad input, 130 interrupted.

    A request to terminate is taken as Ctrl-C is, so that a run cleans up after itself either way.
    """
    signal.signal(signal.SIGTERM, _terminate)
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    rest = [argument for argument in given if argument != "--debug"]
    sys.exit(_run([*(["--debug"] if debug else []), *rest], debug))


def _run(arguments: list[str], debug: bool) -> int:
    command: Any = typer.main.get_command(app)
    try:
        returned = command.main(args=arguments, prog_name="thor", standalone_mode=False)
    except typer.TyperException as error:
        _print_error(UserError(error.format_message(), "`--help` after any verb lists what it takes"))
        return error.exit_code
    except WorkerError as error:
        if debug:
            traceback.print_exc()
        _print_error(UserError(str(error), "; ".join(getattr(error, "__notes__", ()))))
        return FAILED
    except (UserError, ValueError, RuntimeError) as error:
        if not isinstance(error, _user_errors()):
            raise
        if debug:
            traceback.print_exc()
        _print_error(error)
        return USER_ERROR
    if returned == INTERRUPTED:
        _print_interruption(command, arguments)
    # A command returns nothing; a number is the code of a `typer.Exit`.
    return returned if isinstance(returned, int) else 0


def _user_errors() -> tuple[type[Exception], ...]:
    """Errors that the user can mend; looked up when one is raised, since their modules take time to import."""
    from sandbox import SandboxUnavailable
    from thor_ray.config import RecipeError
    from thor_ray.problems import ProblemFileError

    return (UserError, RecipeError, ProblemFileError, SandboxUnavailable)


def _print_error(error: Exception) -> None:
    message, remedy = (error.message, error.remedy) if isinstance(error, UserError) else (str(error), "")
    text = Text.assemble(("error: ", "bold red"), message)
    if remedy:
        text.append(f"\n  fix: {remedy}", style="bold")
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)


def _print_interruption(command: Any, arguments: list[str]) -> None:
    """Says that the run stopped and, where the verb can, how to go on."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("\nInterrupted.", style="bold yellow")
    words = [word for word in arguments if word not in ("--debug", "--overwrite", "--resume")]
    verb = command.commands.get(words[0]) if words else None
    verb = getattr(verb, "default_verb", verb)
    if verb is not None and any(parameter.name == "resume" for parameter in verb.params):
        console.print(f"Go on with: thor {shlex.join(words)} --resume")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
