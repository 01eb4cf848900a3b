"""The recipe's section ``placement``: which machines it is made for."""

from pydantic import Field

from thor_ray.config.section import Section


class PlacementConfig(Section):
    """What the recipe expects of the cluster."""

    gpu_memory_gib: float | None = Field(
        None,
        gt=0,
        description="Memory of each GPU that the recipe is made for, such as 139 (H200) or 79 (H100, A100 80 GB); a "
        "cluster without GPUs is then refused. null runs on what there is.",
    )
