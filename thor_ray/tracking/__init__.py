"""Copies of a run's metrics for other tools, as the recipe's section ``tracking`` asks for them.

The sink ``ray`` is not opened here, since the ground floor knows no cluster: ``stages.ray_metrics``.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from thor_ray.config import TrackingConfig
from thor_ray.preflight import Fault
from thor_ray.run_directory import RunDirectory
from thor_ray.tracking.sink import Sink, scalars

__all__ = ["Sink", "open_sinks", "scalars", "sink_faults"]

_PACKAGES: Final = {"tensorboard": "tensorboard", "wandb": "wandb", "ray": "ray"}


def sink_faults(config: TrackingConfig) -> Iterator[Fault]:
    """Sinks whose package is not installed."""
    for name in config.sinks:
        if find_spec(_PACKAGES[name]) is None:
            yield Fault(
                f"tracking.sinks names {name}, but the package {_PACKAGES[name]} is not installed",
                f"pip install {_PACKAGES[name]}, or remove it from tracking.sinks",
            )


def open_sinks(directory: RunDirectory) -> list[Sink]:
    """The sinks that the recipe of a run asks for, open for this attempt at it."""
    recipe, sinks = directory.recipe(), list[Sink]()
    config = recipe.tracking
    if "tensorboard" in config.sinks:
        from thor_ray.tracking.tensorboard import TensorBoardSink

        sinks.append(TensorBoardSink(directory.path / "tensorboard"))
    if "wandb" in config.sinks:
        from thor_ray.tracking.weights_and_biases import WandbSink

        # The start time tells runs of the same name apart and stays the same when the run is resumed.
        run_id = f"{directory.name}-{directory.state().started}".translate(str.maketrans(":.+", "---"))
        settings = recipe.model_dump(mode="json")
        sinks.append(WandbSink(config, directory.name, directory.path, settings, run_id))
    return sinks
