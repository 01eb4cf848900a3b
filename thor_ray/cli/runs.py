"""``thor smoke``, ``train``, ``sft``, ``tirgen``, ``eval``: verbs that leave a run directory behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from thor_ray.config import Recipe
    from thor_ray.records import Stage

MEMORY_MEBIBYTES = 6144
DISK_MEBIBYTES = 1024

RecipeOption = Annotated[str, typer.Option("--recipe", help="A shipped recipe's name, or a YAML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a field: rl.rounds=10. Repeatable.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Of everything that is random.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the run; its directory is runs/NAME.")]
RunDirOption = Annotated[Path | None, typer.Option(help="The run's directory, instead of runs/NAME.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on after the last finished stage.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there already.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, and stop.")]
ModelOption = Annotated[str | None, typer.Option(help="`tiny`, or a Hugging Face model directory.")]
ProblemsOption = Annotated[Path | None, typer.Option(help="JSONL of training problems, instead of generated ones.")]
HeldoutOption = Annotated[Path | None, typer.Option(help="JSONL of evaluation problems, instead of generated ones.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Use this many of the problems.")]


def smoke(
    seed: SeedOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short one, to see that all parts work.")] = False,
    recipe: RecipeOption = "smoke",
    overrides: SetOption = None,
    name: NameOption = None,
    run_dir: RunDirOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Run the whole loop on this machine: TIRGen, cold start, hierarchical RL, self-correcting evaluation."""
    from thor_ray.stages.plan import QUICK, SMOKE

    settings = [*(QUICK if quick else ()), *(overrides or ()), *_settings(seed=seed, name=name)]
    command = "smoke --quick" if quick else "smoke"
    _run(command, recipe, settings, SMOKE, run_dir, resume, overwrite, dry_run)


def train(
    problems: ProblemsOption = None,
    limit: LimitOption = None,
    heldout: HeldoutOption = None,
    model: ModelOption = None,
    seed: SeedOption = None,
    recipe: RecipeOption = "smoke",
    overrides: SetOption = None,
    name: NameOption = "train",
    run_dir: RunDirOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train a policy by hierarchical RL, then evaluate it on held-out problems."""
    from thor_ray.stages.plan import TRAIN

    settings = [
        *(overrides or ()),
        *_settings(seed=seed, name=name, model=model, train=problems, train_count=limit, heldout=heldout),
    ]
    _run("train", recipe, settings, TRAIN, run_dir, resume, overwrite, dry_run)


def sft(
    demonstrations: Annotated[Path, typer.Argument(help="Demonstrations that `thor tirgen` recorded (Parquet).")],
    model: ModelOption = None,
    seed: SeedOption = None,
    recipe: RecipeOption = "smoke",
    overrides: SetOption = None,
    name: NameOption = "sft",
    run_dir: RunDirOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Cold-start a policy by supervised learning on demonstrations, then evaluate it on held-out problems."""
    from thor_ray.stages.plan import SFT

    settings = [*(overrides or ()), *_settings(seed=seed, name=name, model=model, demonstrations=demonstrations)]
    _run("sft", recipe, settings, SFT, run_dir, resume, overwrite, dry_run)


def tirgen(
    problems: ProblemsOption = None,
    limit: LimitOption = None,
    model: ModelOption = None,
    seed: SeedOption = None,
    recipe: RecipeOption = "smoke",
    overrides: SetOption = None,
    name: NameOption = "tirgen",
    run_dir: RunDirOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Build cold-start demonstrations: solve, refine into code, execute, filter."""
    from thor_ray.stages.plan import TIRGEN

    counts = _settings(train_count=limit) + ([f"tirgen.problems={limit}"] if limit is not None else [])
    settings = [*(overrides or ()), *counts, *_settings(seed=seed, name=name, model=model, train=problems)]
    _run("tirgen", recipe, settings, TIRGEN, run_dir, resume, overwrite, dry_run)


def evaluate(
    model: ModelOption = None,
    problems: ProblemsOption = None,
    limit: LimitOption = None,
    self_correction: Annotated[
        bool, typer.Option("--self-correction", help="Also with failed steps resampled.")
    ] = False,
    seed: SeedOption = None,
    recipe: RecipeOption = "smoke",
    overrides: SetOption = None,
    name: NameOption = "eval",
    run_dir: RunDirOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Evaluate a policy on held-out problems: pass@1 with its interval, code ratio, code pass rate, tokens."""
    from thor_ray.stages.plan import EVALUATE, EVALUATE_CORRECTING

    settings = [
        *(overrides or ()),
        *_settings(seed=seed, name=name, model=model, heldout=problems, heldout_count=limit),
    ]
    stages = EVALUATE_CORRECTING if self_correction else EVALUATE
    _run("eval", recipe, settings, stages, run_dir, resume, overwrite, dry_run)


FIELDS = {
    "seed": "seed",
    "name": "name",
    "model": "policy.model",
    "train": "problems.train.file",
    "train_count": "problems.train.count",
    "heldout": "problems.heldout.file",
    "heldout_count": "problems.heldout.count",
    "demonstrations": "cold_start.demonstrations",
}


def _settings(**options: Any) -> list[str]:
    """Options that were given, as overrides of the recipe."""
    import json

    given = {FIELDS[option]: value for option, value in options.items() if value is not None}
    return [f"{field}={json.dumps(value if isinstance(value, int) else str(value))}" for field, value in given.items()]


def _run(
    command: str,
    recipe_name: str,
    settings: Sequence[str],
    stages: Sequence["Stage"],
    run_dir: Path | None,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
) -> None:
    from thor_ray.config import load_recipe
    from thor_ray.progress import Progress, print_report_table
    from thor_ray.run_directory import RUNS
    from thor_ray.runlog import RunLog
    from thor_ray.stages.plan import make_plan, print_plan

    console = Console()
    recipe = load_recipe(recipe_name, list(settings))
    path = run_dir or RUNS / recipe.name
    _preflight(recipe, path)
    plan = make_plan(recipe, stages)
    print_plan(plan, console)
    if dry_run:
        return
    from thor_ray.stages.pipeline import run_plan

    opened = RunLog.resume(path, recipe) if resume else RunLog.create(path, recipe, command, overwrite=overwrite)
    with opened as log, Progress(console) as progress:
        report = run_plan(plan, log, progress)
    print_report_table(report, console)
    console.print(f"{log.report_html}\n{log.report_json}", highlight=False, soft_wrap=True)
    if not all(claim["holds"] for claim in report["claims"]):
        raise typer.Exit(1)


def _preflight(recipe: "Recipe", path: Path) -> None:
    from thor_ray.preflight import disk_faults, memory_faults, require

    require(memory_faults(MEMORY_MEBIBYTES), disk_faults(path, DISK_MEBIBYTES))
