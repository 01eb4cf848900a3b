"""The recipe's section ``tracking``: where figures go beside the run directory."""

from typing import Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.section import Section

SinkName = Literal["tensorboard", "wandb", "ray"]


class TrackingConfig(Section):
    """Copies of the metrics for other tools. ``metrics.jsonl`` in the run directory is always written."""

    sinks: tuple[SinkName, ...] = Field(
        (),
        description="tensorboard: event files in the run directory; wandb: offline there, unless WANDB_API_KEY or "
        "WANDB_MODE say otherwise; ray: Ray's metrics, which Prometheus and Grafana read.",
    )
    wandb_project: str = Field("thor-ray", min_length=1, description="Project of wandb runs.")
    wandb_rollouts: int = Field(16, ge=0, description="Trajectories of each round in a table of wandb; 0 is none.")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if len(set(self.sinks)) < len(self.sinks):
            raise ValueError(f"tracking.sinks names one twice: {', '.join(self.sinks)}")
        # A resolved recipe states its defaults, so these must be let through.
        for name in ("wandb_project", "wandb_rollouts"):
            if "wandb" not in self.sinks and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"tracking.{name} does nothing without wandb among tracking.sinks: add it, or remove this"
                )
        return self
