"""The run directory: everything a run leaves behind, readable while it goes on and years later.

::

    runs/<name>/
        recipe.yaml        the resolved recipe
        environment.json   versions, machine, commit
        progress.json      status and finished stages, replaced atomically at each change
        metrics.jsonl      one JSON object a line: time, attempt, stage, round, metrics
        records/           trajectories, one Parquet file per stage and round
        tokenizer/         of the policy, so that records stay readable
        checkpoints/ logs/ report.json report.html
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from thor_ray.config import Recipe, load_recipe
from thor_ray.errors import RecordFormatError, RunNotFoundError
from thor_ray.records import Stage
from thor_ray.run_state import RunState
from thor_ray.segments import Decoder

RUNS: Final = Path("runs")
"""Where run directories lie unless told otherwise, relative to the working directory."""

WEIGHTS_VERSION: Final = "weights/version"
WEIGHTS_VERIFIED: Final = "weights/verified"
WEIGHTS_GAP: Final = "weights/logprob_gap"
"""Metrics of one publication of weights: its version, whether it was verified (1 or 0), and the largest difference
between engine and learner log-probs on the probe batch, in nats."""


@dataclass(frozen=True, slots=True)
class MetricsLine:
    """One line of ``metrics.jsonl``.

    Attributes:
        time: When it was written, ISO 8601 in UTC.
        attempt: Which start of the run wrote it, from 1.
        stage: The stage it belongs to.
        round: The stage's round, ``None`` for figures of the whole stage.
        metrics: Figures by name; ``None`` where one is undefined or was not finite.
    """

    time: str
    attempt: int
    stage: str
    round: int | None
    metrics: Mapping[str, Any]


class RunDirectory:
    """A run directory as a reader sees it, whether the run is over or not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def find(cls, name_or_path: str | Path) -> Self:
        """The run at this path, or of this name below ``runs/``.

        Raises:
            RunNotFoundError: neither is a run directory.
        """
        for path in (Path(name_or_path), RUNS / name_or_path):
            if (path / "progress.json").is_file():
                return cls(path)
        known = sorted(place.parent.name for place in RUNS.glob("*/progress.json"))
        raise RunNotFoundError(
            f"no run {str(name_or_path)!r}: neither a run directory nor one of {RUNS}/",
            f"runs here: {', '.join(known)}" if known else "start one with `thor smoke`",
        )

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def progress_file(self) -> Path:
        return self.path / "progress.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def records(self) -> Path:
        return self.path / "records"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def report_json(self) -> Path:
        return self.path / "report.json"

    @property
    def report_markdown(self) -> Path:
        return self.path / "report.md"

    @property
    def report_html(self) -> Path:
        return self.path / "report.html"

    def state(self) -> RunState:
        """How far the run has got.

        Raises:
            RunNotFoundError: there is no ``progress.json``.
            RecordFormatError: another version wrote it.
        """
        try:
            return RunState.from_json(json.loads(self.progress_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise RunNotFoundError(
                f"{self.path} is not a run directory: it has no progress.json", "start it without --resume"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise RecordFormatError(
                f"{self.progress_file} cannot be read: {error}", "read it with the version that wrote it"
            ) from error

    def recipe(self) -> Recipe:
        """The resolved recipe.

        Raises:
            RecipeError: the file is missing or is no recipe of this version.
        """
        return load_recipe(str(self.recipe_file))

    def environment(self) -> dict[str, Any]:
        """Versions, machine and commit of the run; empty where it had not got that far."""
        with contextlib.suppress(FileNotFoundError):
            tree: dict[str, Any] = json.loads(self.environment_file.read_text(encoding="utf-8"))
            return tree
        return {}

    def record_files(self, *stages: Stage) -> list[Path]:
        """Record files in the order of stage and round, of ``stages`` only if any are given."""
        names = [str(stage) for stage in stages or Stage]
        return [path for name in names for path in sorted(self.records.glob(f"{name}-*.parquet"))]

    def metrics(self, stage: str | None = None) -> list[MetricsLine]:
        """What ``metrics.jsonl`` says, without what a later attempt at the same rounds has superseded.

        A line that is still being written, or was torn by a kill, is not there yet.

        Raises:
            RecordFormatError: another line is no metrics.
        """
        if not self.metrics_file.is_file():
            return []
        kept: dict[str, list[MetricsLine]] = {}
        *lines, _torn = self.metrics_file.read_bytes().split(b"\n")
        for number, text in enumerate(lines, start=1):
            try:
                line = MetricsLine(**json.loads(text))
            except (ValueError, TypeError) as error:
                raise RecordFormatError(
                    f"{self.metrics_file}, line {number}: not a line of metrics: {error}"
                ) from error
            if stage in (None, line.stage):
                _supersede(kept.setdefault(line.stage, []), line)
        return sorted((line for lines in kept.values() for line in lines), key=lambda line: line.time)

    def decoder(self) -> Decoder | None:
        """Token ids to text with the run's own tokenizer; ``None`` where the run has none yet."""
        if not (self.tokenizer / "tokenizer.json").is_file():
            return None
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer / "tokenizer.json"))
        return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False))


def _supersede(lines: list[MetricsLine], line: MetricsLine) -> None:
    """Appends ``line`` and removes what an earlier attempt said of its round and later ones."""

    def stale(old: MetricsLine) -> bool:
        return old.attempt < line.attempt and (old.round is None or line.round is None or old.round >= line.round)

    while lines and stale(lines[-1]):
        lines.pop()
    lines.append(line)
