"""The recipe's section ``problems``: what is asked in training and evaluation, and what must not be trained on."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from thor_ray.config.section import Section


class ProblemSource(Section):
    """Where problems come from: generated families, or problems that exist."""

    file: str | None = Field(
        None,
        min_length=1,
        description="JSONL or Parquet file, `hf:owner/name[:config][:split]`, or a benchmark's name; families are ignored.",
    )
    question_field: str | None = Field(None, description="Where the file has its questions, if not in a known field.")
    answer_field: str | None = Field(None, description="Where the file has its answers; dots lead into objects.")
    families: dict[str, float] = Field(
        {}, description="Generated families and their weights in the mix, or a list of equal ones; empty means all."
    )
    levels: tuple[int, ...] = Field((1, 2), description="Difficulty levels of generated problems, 1 is easiest.")
    count: int = Field(256, ge=1, description="Number of problems.")

    @field_validator("families", mode="before")
    @classmethod
    def _equal_weights(cls, families: Any) -> Any:
        return dict.fromkeys(families, 1.0) if isinstance(families, list | tuple) else families

    @field_validator("families")
    @classmethod
    def _positive_weights(cls, families: dict[str, float]) -> dict[str, float]:
        if any(weight <= 0 for weight in families.values()):
            raise ValueError("weights must be above 0; leave a family out instead")
        return families

    @model_validator(mode="after")
    def _fields_of_a_file(self) -> Self:
        if self.file is None and (self.question_field or self.answer_field):
            raise ValueError("question_field and answer_field do nothing without file")
        return self


class DecontaminationConfig(Section):
    """Training problems that are test problems are left out before any work starts."""

    against: tuple[str, ...] = Field(
        (), description="Test sets: benchmarks by name, files, or data sets of the hub; empty checks nothing."
    )
    ngram: int = Field(13, ge=1, description="Words in a row that have to agree.")
    min_share: float = Field(0.5, gt=0, le=1, description="Share of a test problem's n-grams that is an overlap.")

    @model_validator(mode="after")
    def _used(self) -> Self:
        if not self.against and self.model_fields_set - {"against"} and self != DecontaminationConfig():
            raise ValueError("ngram and min_share do nothing without against")
        return self


class ProblemsConfig(Section):
    """Training and held-out problems. Generated ones are disjoint in instances and in phrasing."""

    train: ProblemSource = ProblemSource(count=2000)
    heldout: ProblemSource = ProblemSource(count=200)
    heldout_part: Literal["all", "validation", "test"] = Field(
        "all",
        description="Which generated instances evaluations ask: those to choose settings on, those to report on, or both.",
    )
    data_dir: Path | None = Field(None, description="Folder with benchmark files; null asks THOR_DATA.")
    decontamination: DecontaminationConfig = DecontaminationConfig()

    @model_validator(mode="after")
    def _part_of_generated_problems(self) -> Self:
        if self.heldout_part != "all" and self.heldout.file is not None:
            raise ValueError(
                f"heldout_part: {self.heldout_part} does nothing with heldout.file: it parts generated problems; remove it"
            )
        return self
