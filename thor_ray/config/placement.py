"""The recipe's section ``placement``: which machines it is made for, and who shares a GPU."""

from typing import Literal

from pydantic import Field

from thor_ray.config.section import Section


class PlacementConfig(Section):
    """What the recipe expects of the cluster."""

    mode: Literal["disaggregated", "colocated"] = Field(
        "disaggregated",
        description="Engines and learner ranks on GPUs of their own; or one engine and one rank on each GPU, which take "
        "turns: engines sleep while the learner works, and its optimizer leaves the GPU while they sample.",
    )
    gpu_memory_gib: float | None = Field(
        None,
        gt=0,
        description="Memory of each GPU that the recipe is made for, such as 139 (H200) or 79 (H100, A100 80 GB); a "
        "cluster without GPUs is then refused. null runs on what there is.",
    )
