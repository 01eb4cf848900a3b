"""Finding an evaluation by the name that a person gives it, whatever made it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from thor_ray.config import Recipe
from thor_ray.errors import RunNotFoundError, UserError
from thor_ray.evaluation.figures import About
from thor_ray.evaluation.samples import EvaluationSample, samples_of_records, strategy_name
from thor_ray.evaluation.store import FOLDER, EvaluationDirectory, read_samples
from thor_ray.problems import Problem, benchmark_named
from thor_ray.records import EVALUATIONS, Stage, read_records
from thor_ray.run_directory import RUNS, RunDirectory

HELD_OUT: Final = "held-out"
"""Benchmark name of a run's own held-out problems."""

SEPARATOR: Final = ":"
"""Between an evaluation's name and the part of it that is meant."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Rows and what they are about."""

    about: About
    samples: list[EvaluationSample]


def find_evaluation(name: str) -> Evaluation:
    """The evaluation that ``name`` means.

    Args:
        name: A run below ``runs/``, a run directory, a directory with ``samples.jsonl``, or such a file. Where one holds
            several evaluations, ``:`` and a repair strategy (``run:step_suffix``) or a stage (``run:evaluate_rl``) says
            which.

    Raises:
        RunNotFoundError: there is none.
        UserError: it holds several, or not the part that was asked for.
        RecordFormatError: another version wrote it.
    """
    if (path := _place(name)) is not None:
        return _only_part(_parts(path), name)
    place, separator, part = name.rpartition(SEPARATOR)
    if separator and (path := _place(place)) is not None:
        parts = _parts(path)
        if part in parts:
            return parts[part]()
        raise UserError(f"{place} holds no evaluation {part!r}", f"it holds: {', '.join(parts) or 'none'}")
    raise _not_found(name)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an evaluation lies.

    Attributes:
        run: The directory of the run that made it, or of its rows where no run did.
        rows: Its file of rows; ``None`` where they follow from a run's records.
        part: The part of it that is meant; ``None`` for all of it.
    """

    run: Path
    rows: Path | None
    part: str | None = None


def place_of(name: str) -> Place:
    """Where the evaluation lies that ``name`` means, which holds one or several parts.

    Raises:
        RunNotFoundError: there is none.
    """
    place, _, part = name.rpartition(SEPARATOR)
    for candidate, meant in ((name, None), (place, part)):
        if (path := _place(candidate) if candidate else None) is None:
            continue
        files = [path] if path.is_file() else [path / "samples.jsonl", path / FOLDER / "samples.jsonl"]
        rows = next((file for file in files if file.is_file()), None)
        folder = path if rows is None else rows.parent
        return Place(folder.parent if folder.name == FOLDER else folder, rows, meant)
    raise _not_found(name)


def stage_evaluation(run: RunDirectory, stage: Stage) -> Evaluation:
    """What a stage of a run has recorded in its latest round.

    Raises:
        UserError: nothing.
        RecordFormatError: another version wrote it.
    """
    files = run.record_files(stage)
    if not files:
        raise UserError(f"{run.path} has recorded no {stage}", "evaluate with `thor eval`")
    recipe = run.recipe()
    settings = run_settings(recipe, stage)
    if (version := run.environment().get("versions", {}).get("thor-ray")) is not None:
        settings["thor-ray"] = version
    strategy = recipe.evaluation.correction.strategy if stage.corrects_itself else None
    about = _part_of(About(name=run.name, source=str(files[-1]), settings=settings), str(stage))
    return Evaluation(about, samples_of_records(read_records(files[-1:]), benchmark_of(recipe), strategy))


def benchmark_of(recipe: Recipe) -> str:
    """What to call the problems that a recipe's evaluations ask: a registered benchmark's name, a file's, or held-out."""
    file = recipe.problems.heldout.file
    if file is None:
        return HELD_OUT
    known = benchmark_named(str(file)) or benchmark_named(Path(file).stem)
    return Path(file).stem if known is None else known.name


def policy_settings(recipe: Recipe) -> dict[str, str]:
    """What decides what a policy is asked and how it answers, for people."""
    sampling = recipe.evaluation.sampling
    return {
        "model": recipe.policy.model,
        "prompt template": recipe.policy.template,
        "temperature": f"{sampling.temperature:g}",
        "top-p": f"{sampling.top_p:g}",
        "top-k": str(sampling.top_k or "all"),
        "code rounds": str(sampling.max_rounds),
        "new tokens": str(sampling.max_new_tokens),
        "context": str(recipe.policy.max_context),
        "seconds per program": f"{recipe.sandbox.timeout_seconds:g}",
    }


def run_settings(recipe: Recipe, stage: Stage) -> dict[str, str]:
    """What decides the figures of an evaluation stage of a training run, for people."""
    settings = {**policy_settings(recipe), "stage": str(stage), "self-correction": "none", "seed": str(recipe.seed)}
    if stage.corrects_itself:
        correction = recipe.evaluation.correction
        settings["self-correction"] = f"{correction.strategy}, {correction.attempts} attempts"
        settings["suffix tokens"] = str(correction.suffix_tokens)
    return settings


def family_of(problem: Problem) -> str | None:
    """The subject of a generated problem; ``None`` for any other."""
    kind, _, family = problem.source.partition("/")
    return family if kind == "families" else None


def _place(name: str) -> Path | None:
    for path in (Path(name), RUNS / name):
        if path.is_file() or any(
            file.is_file() for file in (path / "samples.jsonl", path / FOLDER / "samples.jsonl", path / "progress.json")
        ):
            return path
    return None


def _not_found(name: str) -> RunNotFoundError:
    return RunNotFoundError(
        f"no evaluation {name!r}: neither a run, nor a directory or file of evaluation rows",
        f"runs are looked for below {RUNS}/",
    )


def _parts(path: Path) -> dict[str, Callable[[], Evaluation]]:
    """The evaluations at a place, by the name that tells them apart; those of a run are read when they are called."""
    if path.is_file():
        return _by_strategy(About(name=path.stem, source=str(path), settings={}), read_samples(path))
    for directory in map(EvaluationDirectory, (path, path / FOLDER)):
        if directory.samples_file.is_file():
            return _by_strategy(directory.about(), directory.samples())
    run = RunDirectory(path)
    return {str(stage): partial(stage_evaluation, run, stage) for stage in EVALUATIONS if run.record_files(stage)}


def _by_strategy(about: About, samples: Sequence[EvaluationSample]) -> dict[str, Callable[[], Evaluation]]:
    parts: dict[str, list[EvaluationSample]] = {}
    for sample in samples:
        parts.setdefault(strategy_name(sample.strategy), []).append(sample)
    return {
        name: partial(Evaluation, _part_of(about, name) if len(parts) > 1 else about, rows)
        for name, rows in parts.items()
    }


def _part_of(about: About, part: str) -> About:
    return about.model_copy(update={"name": f"{about.name}{SEPARATOR}{part}"})


def _only_part(parts: Mapping[str, Callable[[], Evaluation]], name: str) -> Evaluation:
    if len(parts) == 1:
        return next(iter(parts.values()))()
    if not parts:
        raise UserError(f"{name} has evaluated nothing yet", "evaluate with `thor eval`")
    raise UserError(
        f"{name} holds several evaluations: {', '.join(parts)}", f"say which, e.g. {name}{SEPARATOR}{next(iter(parts))}"
    )
