"""Where models and data are looked for, and whether a recipe's are there."""

from pathlib import Path

from thor_ray.config import Recipe
from thor_ray.doctor.check import Check, Verdict
from thor_ray.preflight import Fault, model_faults
from thor_ray.problems import ProblemFileError, load_problems
from thor_ray.problems.benchmarks import DATA_VARIABLE, data_directory, find_file
from thor_ray.problems.registry import BENCHMARKS
from thor_ray.tiny import base_model_path


def check_data() -> Check:
    """Which benchmarks lie in the folder that ``THOR_DATA`` names."""
    directory = data_directory()
    if directory is None:
        return Check("data", Verdict.OK, f"{DATA_VARIABLE} is not set: generated problems and given files alone")
    if not directory.is_dir():
        return Check("data", Verdict.ERROR, f"{DATA_VARIABLE}={directory} is no directory", f"correct {DATA_VARIABLE}")
    there = [benchmark.name for benchmark in BENCHMARKS if find_file(benchmark, directory) is not None]
    found = f"{directory}: {len(there)} of {len(BENCHMARKS)} benchmarks" + (f", {', '.join(there)}" if there else "")
    if there:
        return Check("data", Verdict.OK, found)
    return Check("data", Verdict.WARNING, found, "`thor problems list` says where they come from")


def check_base_model() -> Check:
    """The tiny policy came whole with the package."""
    try:
        faults = list(model_faults(base_model_path()))
    except FileNotFoundError as error:
        return Check("tiny policy", Verdict.ERROR, str(error), "reinstall the package")
    return _judge("tiny policy", faults, str(base_model_path()))


def check_recipe_model(recipe: Recipe) -> Check:
    """The recipe's model directory is whole."""
    path = base_model_path() if recipe.policy.model == "tiny" else Path(recipe.policy.model)
    return _judge(f"model of {recipe.name}", list(model_faults(path)), str(path))


def check_recipe_problems(recipe: Recipe) -> Check:
    """The recipe's files of problems are there and hold some."""
    name, config = f"problems of {recipe.name}", recipe.problems
    files = [source.file for source in (config.train, config.heldout) if source.file is not None]
    counts = []
    for file in files:
        try:
            counts.append(f"{len(load_problems(file, data_dir=config.data_dir))} in {file}")
        except ProblemFileError as error:
            return Check(
                name, Verdict.ERROR, str(error), "give existing files in problems.train.file, problems.heldout.file"
            )
    return Check(name, Verdict.OK, ", ".join(counts) or "generated")


def _judge(name: str, faults: list[Fault], found: str) -> Check:
    if not faults:
        return Check(name, Verdict.OK, found)
    return Check(name, Verdict.ERROR, "; ".join(each.message for each in faults), faults[0].remedy)
