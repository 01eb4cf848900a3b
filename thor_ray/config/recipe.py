"""The whole recipe, and what its sections must agree on."""

from typing import Self

from pydantic import Field, model_validator

from thor_ray.config.inference import EvaluationConfig
from thor_ray.config.learning import ColdStartConfig, LearnerConfig
from thor_ray.config.placement import PlacementConfig
from thor_ray.config.policy import EngineConfig, PolicyConfig, SandboxConfig
from thor_ray.config.problems import ProblemsConfig
from thor_ray.config.publishing import PublishingConfig
from thor_ray.config.reinforcement import RLConfig
from thor_ray.config.section import Section
from thor_ray.config.tirgen import TirgenConfig
from thor_ray.config.tracking import TrackingConfig
from thor_ray.dialogue import PROMPT_TEMPLATES


class Recipe(Section):
    """Everything that decides a run. The resolved recipe is stored in the run directory."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$", description="Names the run directory `runs/<name>`.")
    seed: int = Field(0, ge=0)
    policy: PolicyConfig = PolicyConfig()
    problems: ProblemsConfig = ProblemsConfig()
    placement: PlacementConfig = PlacementConfig()
    sandbox: SandboxConfig = SandboxConfig()
    engine: EngineConfig = EngineConfig()
    learner: LearnerConfig = LearnerConfig()
    publishing: PublishingConfig = PublishingConfig()
    tirgen: TirgenConfig = TirgenConfig()
    cold_start: ColdStartConfig = ColdStartConfig()
    rl: RLConfig = RLConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _learnable(self) -> Self:
        if self.learner.row_tokens < self.policy.max_context:
            sharing = self.learner.sequence_parallel
            raise ValueError(
                f"learner.micro_batch_tokens is {self.learner.micro_batch_tokens}"
                f"{f' on each of {sharing} ranks' if sharing > 1 else ''}: a sequence of policy.max_context "
                f"{self.policy.max_context} tokens must fit a micro-batch"
            )
        if self.learner.zero_stage == 0 and self.policy.dtype == "bfloat16":
            raise ValueError(
                "learner.zero_stage 0 adds up gradients in bfloat16 and drifts; choose 1, 2 or 3, or policy.dtype float32"
            )
        return self

    @model_validator(mode="after")
    def _publishes_over_a_wire_that_fits(self) -> Self:
        processes = self.engine.actors * self.engine.tensor_parallel
        if self.publishing.transport == "cuda_ipc" and processes > self.learner.ranks:
            raise ValueError(
                "publishing.transport: cuda_ipc needs a learner rank on each GPU of the engines, but learner.ranks is "
                f"{self.learner.ranks} and engine.actors x engine.tensor_parallel is {processes}; choose nccl"
            )
        return self

    @model_validator(mode="after")
    def _shares_gpus_in_pairs(self) -> Self:
        if self.placement.mode == "disaggregated":
            return self
        if self.engine.tensor_parallel != 1 or self.engine.actors != self.learner.ranks:
            raise ValueError(
                "placement.mode: colocated puts one engine and one rank on each GPU: engine.tensor_parallel must be 1, not "
                f"{self.engine.tensor_parallel}, and engine.actors {self.engine.actors} equal learner.ranks "
                f"{self.learner.ranks}"
            )
        if self.placement.gpu_memory_gib is not None and self.publishing.transport in ("auto", "nccl"):
            raise ValueError(
                "placement.mode: colocated cannot send weights over nccl, which wants a GPU for each process: set "
                "publishing.transport: cuda_ipc"
            )
        return self

    @model_validator(mode="after")
    def _takes_turns_on_shared_gpus(self) -> Self:
        if self.placement.mode == "disaggregated":
            return self
        stream, learner = self.rl.stream, self.learner
        if stream.max_staleness > 0 and stream.over_sample is None:
            raise ValueError(
                "placement.mode: colocated makes engines sleep while the learner works, but rl.stream.max_staleness: "
                f"{stream.max_staleness} lets them sample meanwhile: set it to 0, or rl.stream.over_sample, with which "
                "they rest"
            )
        if learner.zero_stage != 2 and learner.offload.optimizer == "none":
            raise ValueError(
                "placement.mode: colocated keeps the optimizer in the machine's memory while engines sample, which "
                f"DeepSpeed does for learner.zero_stage: 2, not {learner.zero_stage}: choose 2, or keep it there always "
                "with learner.offload.optimizer: cpu"
            )
        return self

    @model_validator(mode="after")
    def _runs_programs_only_if_asked_for(self) -> Self:
        rounds = {
            "rl.sampling": self.rl.sampling.max_rounds,
            "evaluation.sampling": self.evaluation.sampling.max_rounds,
        }
        for where, max_rounds in rounds.items():
            if max_rounds > 0 and not PROMPT_TEMPLATES[self.policy.template].tools:
                raise ValueError(
                    f"policy.template {self.policy.template!r} asks for text alone, but {where}.max_rounds is "
                    f"{max_rounds}; set it to 0"
                )
        return self

    @model_validator(mode="after")
    def _fits_context(self) -> Self:
        for where, sampling in (("rl.sampling", self.rl.sampling), ("evaluation.sampling", self.evaluation.sampling)):
            if sampling.max_new_tokens >= self.policy.max_context:
                raise ValueError(
                    f"{where}.max_new_tokens is {sampling.max_new_tokens}, which leaves no room for a prompt in "
                    f"policy.max_context {self.policy.max_context}"
                )
        return self
