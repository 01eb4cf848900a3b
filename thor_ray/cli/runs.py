"""``thor smoke``, ``train``, ``sft``, ``tirgen``: verbs that start a run or go on with one; what ``eval`` shares with them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from thor_ray.errors import RunNotFoundError, UserError, WorkerError
from thor_ray.progress_format import ProgressFormat

if TYPE_CHECKING:
    from rich.console import Console

    from thor_ray.config import Recipe
    from thor_ray.progress import Progress
    from thor_ray.records import Stage
    from thor_ray.runlog import RunLog
    from thor_ray.stages.plan import Plan

NEEDED_MEMORY_MEBIBYTES: Final = 3072
NEEDED_DISK_MEBIBYTES: Final = 1024

RecipeArgument = Annotated[str, typer.Argument(help="A shipped recipe's name or a YAML file.", show_default=True)]
Problems = Annotated[
    Path | None,
    typer.Option(help="JSONL with `problem` and `answer` a line, instead of the recipe's problems."),
]
Model = Annotated[
    Path | None, typer.Option(help="Hugging Face directory of the policy, instead of the recipe's policy.model.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of everything random, instead of the recipe's.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override one field of the recipe; may be repeated."),
]
Name = Annotated[str | None, typer.Option(help="Name of the run, a directory below runs/; by default the recipe's.")]
RunDir = Annotated[Path | None, typer.Option(help="Run directory, instead of runs/NAME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on after the last finished stage.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that lies there already.")]
Live = Annotated[
    bool, typer.Option("--live", help="Serve a page of the run for as long as it goes on, and print its address.")
]
Format = Annotated[
    ProgressFormat,
    typer.Option(
        "--progress",
        envvar="THOR_PROGRESS",
        help="Bars and a table on a terminal and lines elsewhere; lines; JSON, one object a line; or only alarms.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, and stop.")]


@dataclass(frozen=True, slots=True)
class Launch:
    """Where a run lies and how it is begun; the options that all verbs here share.

    Attributes:
        command: The verb, as the run directory remembers it.
        recipe: Name or file.
        overrides: ``section.field=value``, those of the verb's own options first.
        name: Of the run; ``None`` is the recipe's.
        run_dir: Of the run; ``None`` is ``runs/<name>``.
        resume: Go on with it.
        overwrite: Replace it.
        dry_run: Stop before anything is started.
        live: Serve a page of the run while it goes on.
        progress: How it shows how far it is.
    """

    command: str
    recipe: str
    overrides: Sequence[str]
    name: str | None
    run_dir: Path | None
    resume: bool
    overwrite: bool
    dry_run: bool
    live: bool = False
    progress: ProgressFormat = ProgressFormat.AUTO

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite exclude each other", "give one of them")


def smoke(
    seed: Seed = None,
    quick: Annotated[bool, typer.Option("--quick", help="In a few minutes, without claims about learning.")] = False,
    overrides: Overrides = None,
    name: Name = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    live: Live = False,
    progress: Format = ProgressFormat.AUTO,
) -> None:
    """Run the whole loop on this machine: TIRGen, cold start, hierarchical RL, self-correcting evaluation.

    Ends with code 1 if what it claims to show does not hold.
    """
    from thor_ray.stages.plan import QUICK, SMOKE

    settings = [*(QUICK if quick else ()), *settings_of(seed=seed), *(overrides or [])]
    command = "smoke --quick" if quick else "smoke"
    start(Launch(command, "smoke", settings, name, run_dir, resume, overwrite, dry_run, live, progress), SMOKE)


def train(
    recipe: RecipeArgument = "smoke",
    problems: Problems = None,
    model: Model = None,
    seed: Seed = None,
    overrides: Overrides = None,
    name: Name = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    live: Live = False,
    progress: Format = ProgressFormat.AUTO,
) -> None:
    """Train a policy by hierarchical RL, then evaluate it with and without self-correction."""
    from thor_ray.stages.plan import TRAIN

    settings = [*settings_of(model=model, train=problems, seed=seed), *(overrides or [])]
    start(
        Launch("train", recipe, settings, name or "train", run_dir, resume, overwrite, dry_run, live, progress), TRAIN
    )


def sft(
    demonstrations: Annotated[Path, typer.Argument(help="Recorded demonstrations: a Parquet file of `thor tirgen`.")],
    recipe: RecipeArgument = "smoke",
    model: Model = None,
    seed: Seed = None,
    overrides: Overrides = None,
    name: Name = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    live: Live = False,
    progress: Format = ProgressFormat.AUTO,
) -> None:
    """Fine-tune a policy on demonstrations, observations masked, then evaluate it."""
    from thor_ray.stages.plan import SFT

    settings = [*settings_of(model=model, demonstrations=demonstrations, seed=seed), *(overrides or [])]
    start(Launch("sft", recipe, settings, name or "sft", run_dir, resume, overwrite, dry_run, live, progress), SFT)


def tirgen(
    recipe: RecipeArgument = "smoke",
    problems: Problems = None,
    model: Model = None,
    seed: Seed = None,
    overrides: Overrides = None,
    name: Name = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    live: Live = False,
    progress: Format = ProgressFormat.AUTO,
) -> None:
    """Build demonstrations: reasoning steps whose computations are rewritten as executed Python."""
    from thor_ray.stages.plan import TIRGEN

    settings = [*settings_of(model=model, train=problems, seed=seed), *(overrides or [])]
    start(
        Launch("tirgen", recipe, settings, name or "tirgen", run_dir, resume, overwrite, dry_run, live, progress),
        TIRGEN,
    )


def start(launch: Launch, stages: "Sequence[Stage]") -> None:
    """Plans a run, checks the machine, runs it, and reports.

    Raises:
        typer.Exit: code 1, a claim of the run does not hold.
        UserError: and its kin; nothing has been started.
        WorkerError: a process of the run was lost; a note tells where to look and how to go on.
    """
    from rich.console import Console

    from thor_ray.alarms import AlarmBell
    from thor_ray.progress import Progress
    from thor_ray.report import write_report
    from thor_ray.stages.plan import make_plan, print_plan

    recipe, path = resolve(launch)
    plan = make_plan(recipe, stages)
    # What is for people only is not printed for programs.
    console = Console(quiet=launch.progress in (ProgressFormat.JSON, ProgressFormat.QUIET))
    print_plan(plan, console)
    check_machine(plan, path)
    if launch.dry_run:
        from thor_ray.stages.dry_run import check_cluster

        check_cluster(plan, console)
        return
    from thor_ray.stages.pipeline import run_plan

    with opened_run(launch, recipe, path) as log, Progress(console, launch.progress) as progress:
        log.attach(AlarmBell(log.metrics(), progress.alarm))
        with served_page(log, progress) if launch.live else nullcontext():
            run_plan(plan, log, progress)
    # Once more, now that the run is over: until then its status is `running`.
    report = write_report(log)
    tell_end(log, report, console, launch.progress)
    if not all(claim["holds"] for claim in report["claims"]):
        raise typer.Exit(1)


def tell_end(log: "RunLog", report: "Mapping[str, Any]", console: "Console", form: ProgressFormat) -> None:
    """Prints what a finished run has shown, and where to look."""
    from thor_ray.displays import JsonDisplay
    from thor_ray.report_table import print_report_table

    if form is ProgressFormat.JSON:
        said = {name: report[name] for name in ("status", "stages", "seconds", "claims", "alarms")}
        JsonDisplay(console).event("report", path=str(log.report_json), **said)
    print_report_table(report, console)
    console.print(
        f"report {log.report_html}\nlook at trajectories: thor show {log.path}, thor dashboard {log.path}",
        highlight=False,
        soft_wrap=True,
    )


@contextmanager
def served_page(log: "RunLog", progress: "Progress") -> Iterator[None]:
    """Serves a page of the run for as long as the block runs, and says where."""
    from thor_ray.dashboard import served
    from thor_ray.run_directory import RunDirectory

    with served(RunDirectory(log.path)) as address:
        progress.say(f"dashboard: {address}")
        yield


@contextmanager
def opened_run(launch: Launch, recipe: "Recipe", path: Path) -> "Iterator[RunLog]":
    """The run that a launch is about, new or resumed, for as long as the block runs.

    Raises:
        UserError: and its kin; the run cannot be begun or resumed like this.
        WorkerError: a process of the run was lost; a note tells where to look and how to go on.
    """
    from thor_ray.runlog import RunLog

    if launch.resume:
        log = RunLog.resume(path, recipe)
    else:
        log = RunLog.create(path, recipe, launch.command, overwrite=launch.overwrite)
    try:
        with log:
            yield log
    except WorkerError as error:
        error.add_note(f"what the run's processes printed: {log.logs}; go on with the same command and --resume")
        raise


def resolve(launch: Launch) -> "tuple[Recipe, Path]":
    """The recipe of a launch and its run directory.

    A run that is resumed keeps its recipe; options that would change it are refused when the run is opened.

    Raises:
        RecipeError: the recipe is none.
        RunNotFoundError: there is nothing to resume, or it belongs to another verb.
        PreflightError: a package is missing that the recipe's tracking needs.
    """
    from thor_ray.config import load_recipe
    from thor_ray.preflight import require
    from thor_ray.run_directory import RUNS, RunDirectory
    from thor_ray.tracking import sink_faults

    named = [] if launch.name is None else [f"name={json.dumps(launch.name)}"]
    recipe = load_recipe(launch.recipe, [*launch.overrides, *named])
    require(sink_faults(recipe.tracking))
    path = launch.run_dir or RUNS / recipe.name
    if not launch.resume:
        return recipe, path
    directory = RunDirectory(path)
    command = directory.state().command
    if command != launch.command:
        raise RunNotFoundError(f"{path} is a run of `thor {command}`", f"thor {command} --resume")
    return (recipe if launch.overrides else directory.recipe()), path


def check_machine(plan: "Plan", path: Path) -> None:
    """Refuses a run that this machine has too little memory or disk for.

    Raises:
        PreflightError: names each and what to do.
    """
    from thor_ray.files import MEBIBYTE
    from thor_ray.preflight import disk_faults, memory_faults, require

    weights = sum(file.stat().st_size for file in plan.model.glob("*.safetensors")) // MEBIBYTE
    # Models of two stages. A checkpoint to go on from holds weights and both moments of the optimizer, in float32 the
    # latter, and the newest is written before the oldest is removed.
    learner = plan.recipe.learner
    checkpoints = 5 * (learner.checkpoints_kept + 1) if learner.checkpoint_every else 0
    require(
        # What trains: weights, gradients and both moments.
        memory_faults(NEEDED_MEMORY_MEBIBYTES + 4 * weights),
        disk_faults(path, NEEDED_DISK_MEBIBYTES + (2 + checkpoints) * weights),
    )


def check_machine_for_engines(model: Path, actors: int, path: Path) -> None:
    """Refuses an evaluation that this machine has too little memory or disk for.

    Raises:
        PreflightError: names each and what to do.
    """
    from thor_ray.files import MEBIBYTE
    from thor_ray.preflight import disk_faults, memory_faults, require

    weights = sum(file.stat().st_size for file in model.glob("*.safetensors")) // MEBIBYTE
    require(memory_faults(NEEDED_MEMORY_MEBIBYTES + actors * weights), disk_faults(path, NEEDED_DISK_MEBIBYTES))


def settings_of(
    *,
    model: Path | None = None,
    train: Path | None = None,
    heldout: Path | None = None,
    demonstrations: Path | None = None,
    seed: int | None = None,
) -> list[str]:
    """Overrides that a verb's own options stand for."""
    values = {
        "policy.model": model,
        "problems.train.file": train,
        "problems.heldout.file": heldout,
        "cold_start.demonstrations": demonstrations,
    }
    # A path is quoted, so that one that looks like a number or a truth value stays a path.
    paths = [f"{field}={json.dumps(str(path))}" for field, path in values.items() if path is not None]
    return paths if seed is None else [*paths, f"seed={seed}"]
