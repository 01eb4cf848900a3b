"""The recipe's sections on what runs: the policy, its engines and the sandbox."""

from typing import Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.section import Section
from thor_ray.config.supervision import LivenessConfig, RestartConfig
from thor_ray.dialogue import PROMPT_TEMPLATES


class PolicyConfig(Section):
    """The model that is trained."""

    model: str = Field("tiny", description="`tiny` for the shipped base policy, or a Hugging Face model directory.")
    template: str = Field(
        "bare", description=f"Prompt template, for training and evaluation alike; one of {sorted(PROMPT_TEMPLATES)}."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Of engine and learner weights.")
    max_context: int = Field(512, ge=64, description="Prompt and response together, tokens.")

    @model_validator(mode="after")
    def _known_template(self) -> Self:
        if self.template not in PROMPT_TEMPLATES:
            raise ValueError(f"template {self.template!r} is unknown; choose one of {sorted(PROMPT_TEMPLATES)}")
        return self


class SandboxConfig(Section):
    """Limits of one execution (spec sandbox.md section 4)."""

    workers: int = Field(1, ge=1, description="Warm processes per rollout actor from which executions fork.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Wall time of one execution.")
    cpu_seconds: int | None = Field(
        None,
        ge=1,
        le=60,
        description="Computing time of one execution, which a busy machine does not use up; as `timeout_seconds` if not given.",
    )
    memory_mib: int = Field(512, ge=16, description="Memory of one execution above the warm process's own.")
    preload: tuple[str, ...] = Field(("numpy", "sympy"), description="Modules imported once, before forking.")
    min_level: int = Field(
        2, ge=1, le=4, description="The least isolation to run under; `thor sandbox check` shows it."
    )

    @model_validator(mode="after")
    def _computing_time_can_run_out(self) -> Self:
        if self.cpu_seconds is not None and self.cpu_seconds >= self.timeout_seconds:
            raise ValueError(
                f"cpu_seconds: {self.cpu_seconds} does nothing with timeout_seconds: {self.timeout_seconds:g}, which comes "
                "first; lower it, or raise timeout_seconds"
            )
        return self


class EngineConfig(Section):
    """vLLM engines, one per rollout actor."""

    actors: int = Field(1, ge=1, description="Rollout actors.")
    tensor_parallel: int = Field(1, ge=1, description="GPUs per engine.")
    max_sequences: int = Field(128, ge=1, description="Sequences decoded at the same time by one engine.")
    kv_cache_mib: int = Field(128, ge=16, description="Key-value cache on a CPU; GPUs use gpu_memory_utilization.")
    gpu_memory_utilization: float = Field(0.8, gt=0, le=1)
    liveness: LivenessConfig = LivenessConfig()
    restarts: RestartConfig = RestartConfig()
