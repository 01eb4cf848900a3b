"""The recipe's sections on engines that hang or die: how that is noticed, and how often they are started anew."""

from typing import Self

from pydantic import Field, model_validator

from thor_ray.config.section import Section


class LivenessConfig(Section):
    """When an engine counts as hung. A living process is no proof of life, a generated token is."""

    silence_seconds: float = Field(
        600.0, gt=0, description="An engine that owes groups and finishes none for so long has to generate a token."
    )
    token_seconds: float = Field(60.0, gt=0, description="How long that token may take.")


class RestartConfig(Section):
    """How often an engine that died or hung is started anew in its place (docs/operating.md)."""

    most: int = Field(
        3,
        ge=0,
        description="Restarts of one place within within_seconds; then it is given up, and the run goes on with the "
        "others, or ends if there are none. 0 starts no engine anew.",
    )
    within_seconds: float = Field(3600.0, gt=0, description="After so long a restart no longer counts.")
    delay_seconds: float = Field(
        5.0,
        ge=0,
        description="Wait before the second restart that counts, doubled for each further one; the first is at once.",
    )
    longest_delay_seconds: float = Field(120.0, ge=0, description="The longest such wait.")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        fields = type(self).model_fields
        others = ("within_seconds", "delay_seconds", "longest_delay_seconds")
        idle = [name for name in others if getattr(self, name) != fields[name].default]
        if self.most == 0 and idle:
            raise ValueError(f"engine.restarts.most: 0 leaves {', '.join(idle)} without effect: remove it")
        if self.longest_delay_seconds < self.delay_seconds:
            raise ValueError(
                f"engine.restarts.longest_delay_seconds is {self.longest_delay_seconds:g}, less than delay_seconds, "
                f"{self.delay_seconds:g}"
            )
        return self
