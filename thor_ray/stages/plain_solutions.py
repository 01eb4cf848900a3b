"""What a cold start learns from without a refiner: solutions as they were written, to compare demonstrations with (spec G.9)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from actors.codec import TokenizerCodec
from thor_ray.config import Recipe
from thor_ray.demonstrations import DemonstrationWriter
from thor_ray.problems import Problem
from thor_ray.records import Stage, read_columns, write_groups
from thor_ray.run_directory import RunDirectory
from thor_ray.tirgen import inspection
from thor_ray.tirgen.ledger import FOLDER, Ledger
from thor_ray.trajectory import Group, GroupKind


@dataclass(frozen=True, slots=True)
class PlainSolution:
    """What became a demonstration.

    Attributes:
        problem: That it solves.
        text: As it was before the refiner saw it.
    """

    problem: Problem
    text: str


def solutions_of(run: RunDirectory, problems: Iterable[Problem]) -> list[PlainSolution]:
    """The solutions behind the demonstrations that a run's TIRGen kept, one for each.

    Args:
        run: Has finished TIRGen.
        problems: Those that it asked, at least.
    """
    asked = {problem.id: problem for problem in problems}
    ledger = Ledger(run.path / inspection.FOLDER / FOLDER)
    kept = set(read_columns(run.record_files(Stage.TIRGEN), ["trajectory_id"]).column(0).to_pylist())
    candidates = [ledger.read(entry) for entry in ledger.entries() if entry.id in kept]
    return [PlainSolution(asked[each.key.problem_id], each.solution) for each in candidates]


def write_plain(path: Path, texts: Iterable[tuple[Problem, str]], recipe: Recipe, codec: TokenizerCodec) -> None:
    """Records texts as they are, in the form in which the cold start reads demonstrations.

    Args:
        path: Parquet file to write.
        texts: One of each problem.
        recipe: Says the prompt's template.
        codec: Of the policy.
    """

    def group(problem: Problem, text: str) -> Group:
        prompt = codec.encode_prompt(recipe.policy.template, problem.question)
        writer = DemonstrationWriter(f"plain/{problem.id}", problem.id, prompt, codec.encode, codec.end_of_sequence)
        writer.think(text)
        return Group(f"plain/{problem.id}", GroupKind.EPISODE, problem.id, (writer.finish(),))

    write_groups(path, (group(*each) for each in texts), Stage.TIRGEN, 0, decode=codec.decode)
