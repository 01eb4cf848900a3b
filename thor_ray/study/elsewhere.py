"""Seeds of a study in one small file, so that other machines and other days can add theirs to a report."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from thor_ray.errors import UserError
from thor_ray.study.results import SeedResult

FILE_VERSION: Final = 1


class StudyFile(BaseModel):
    """All figures of a study, by seed: what its tables and pictures are made from."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    version: Literal[1] = FILE_VERSION
    """Of the format."""
    seeds: tuple[SeedResult, ...]
    """In ascending order."""


def file_text(results: Sequence[SeedResult]) -> str:
    """A study's file, one line a seed."""
    seeds = StudyFile(seeds=tuple(results)).model_dump(mode="json")["seeds"]
    lines = ",\n".join(json.dumps(seed, allow_nan=False) for seed in seeds)
    return f'{{"version": {FILE_VERSION}, "seeds": [\n{lines}\n]}}\n'


def read_file(path: Path) -> list[SeedResult]:
    """Seeds that were run elsewhere.

    Raises:
        UserError: there is no such file, or it is no study's.
    """
    try:
        return list(StudyFile.model_validate_json(path.read_bytes()).seeds)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "name the study.json of another study") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UserError(
            f"{path} is not the study.json of a study: {where}: {first['msg']}",
            "name a study.json that this version of `thor study` wrote",
        ) from error


def together(here: Iterable[SeedResult], files: Iterable[Path]) -> list[SeedResult]:
    """Seeds of a study with those that were run elsewhere, in ascending order.

    Raises:
        UserError: a file cannot be read; a seed comes twice; or seeds were run with different settings.
    """
    results = list(here)
    for path in files:
        others = read_file(path)
        if twice := sorted({one.seed for one in results} & {one.seed for one in others}):
            raise UserError(
                f"seed {twice[0]} of {path} is among the others already", "leave out the file, or the seed's directory"
            )
        results += others
    results.sort(key=lambda result: result.seed)
    _require_same_settings(results)
    return results


def _require_same_settings(results: Sequence[SeedResult]) -> None:
    first: dict[str, SeedResult] = {}
    for result in results:
        for run, settings in result.origin.settings.items():
            before = first.setdefault(run, result)
            if before.origin.settings[run] != settings:
                raise UserError(
                    f"seeds {before.seed} and {result.seed} were run with different settings of {run}",
                    "report seeds of the same recipe, knobs and overrides only",
                )
