"""The recipe's section on how weights travel from learner to engines."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.section import Section


class PublishingConfig(Section):
    """How weights reach the engines, and how that is verified (docs/publishing.md)."""

    transport: Literal["auto", "shared_memory", "gloo", "nccl", "cuda_ipc", "file"] = Field(
        "auto",
        description="The wire. `auto` is nccl on GPUs, elsewhere shared_memory on one node and gloo on several.",
    )
    bucket_mib: int = Field(512, ge=1, description="Size of a bucket; two are held in addition to the model.")
    verification: Literal["sampled", "full"] = Field(
        "sampled", description="Whether checksums look at a sample of each tensor or at every byte."
    )
    timeout_seconds: float = Field(
        300.0, gt=0, description="After which a wait for one bucket counts as a hang, and the run stops."
    )
    directory: Path | None = Field(None, description="For `file`: a directory on storage that all nodes share.")

    @model_validator(mode="after")
    def _directory_where_used(self) -> Self:
        if self.transport == "file" and self.directory is None:
            raise ValueError("publishing.transport: file needs publishing.directory, on storage that all nodes share")
        if self.transport != "file" and self.directory is not None:
            raise ValueError(f"publishing.directory does nothing with publishing.transport: {self.transport}")
        return self
