"""The figures of the paper (arXiv 2509.13761), packaged so that a report can put ours beside them.

The data and their caveats are in ``paper.yaml``. They are judged by another grader than ours, so that a difference of a
point or two between a row of the paper and ours need not mean anything.
"""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, model_validator


class Reference(BaseModel):
    """Base of all parts: typed, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PaperRow(Reference):
    """One row of a table.

    Attributes:
        label: What the row is about, as the paper calls it.
        group: What it is to be compared with: a kind of model, or the model itself.
        values: In the order of the table's columns; ``None`` where the paper has none.
        code: Whether the model runs code; ``None`` where the table is not about that.
        judged: ``rerun`` by the paper's authors, or as ``official``ly reported; ``None`` where all are reruns.
    """

    label: str
    group: str
    values: tuple[float | None, ...]
    code: bool | None = None
    judged: Literal["rerun", "official"] | None = None


class PaperTable(Reference):
    """One table.

    Attributes:
        number: In version 3 of the paper.
        title: What it shows.
        unit: Of its values; ``mixed`` where the columns say it.
        columns: Benchmarks as `thor_ray.problems.registry` names them, or other figures.
        rows: In the paper's order.
        notes: What is odd about it.
    """

    number: int
    title: str
    unit: Literal["percent", "count", "tokens", "mixed"]
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> "PaperTable":
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(f"row {row.label!r} has {len(row.values)} values for {len(self.columns)} columns")
        return self

    def values(self, row: PaperRow, columns: Sequence[str]) -> list[float | None]:
        """A row's values in some columns, ``None`` for those that the table does not have."""
        by_name = dict(zip(self.columns, row.values, strict=True))
        return [by_name.get(name) for name in columns]


class Paper(Reference):
    """The paper's figures.

    Attributes:
        source: Title, arXiv number, version, date, and how the figures were made.
        tables: By what they are about.
    """

    source: dict[str, object]
    tables: dict[str, PaperTable]

    @property
    def citation(self) -> str:
        """The source in a few words."""
        return f"arXiv {self.source['arxiv']}v{self.source['version']}"


@cache
def paper() -> Paper:
    """The paper's figures, read once."""
    text = resources.files("thor_ray.evaluation").joinpath("paper.yaml").read_text(encoding="utf-8")
    return Paper.model_validate(yaml.safe_load(text))
