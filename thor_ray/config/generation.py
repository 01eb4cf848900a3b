"""The recipe's section ``tirgen.generator``."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.endpoint import EndpointConfig
from thor_ray.config.section import Section
from thor_ray.dialogue import PROMPT_TEMPLATES

WITHOUT_TOOLS: Final = {"tir": "cot", "chat": "chat_cot", "reasoning": "reasoning_cot"}
"""The template under which a policy writes without tools, by the one under which it is trained; others serve for both."""

MIN_FRAGMENT_TOKENS: Final = 2048
"""Of reasoning models (spec B.4)."""


class GeneratorConfig(Section):
    """Who writes the solutions, and how they are cut into steps (spec sections B.2 to B.5)."""

    kind: Literal["policy", "endpoint"] = Field(
        "policy", description="`policy`: the policy on its rollout actors; `endpoint`: an OpenAI-compatible server."
    )
    endpoint: EndpointConfig | None = Field(
        None, description="Of kind `endpoint`: a server with `/completions`, which can go on with a text."
    )
    template: str | None = Field(
        None,
        description="Prompt template; null takes the policy's without tools: `cot` for `tir`, `chat_cot` for `chat`, "
        "`reasoning_cot` for `reasoning`. Short or reasoning mode (`<think>`) goes by it.",
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Paper: 1.0.")
    top_k: int = Field(50, ge=0, description="Paper: 50. 0 means all tokens, and is not sent to an endpoint.")
    solution_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens that are written at a time, at the most; null takes what policy.max_context leaves.",
    )
    continues: bool = Field(
        True,
        description="Behind a step that was rewritten, what follows is written anew, knowing what the programs printed "
        "(paper); false keeps the rest of the solution as it was written at first.",
    )
    min_fragment_tokens: int | None = Field(
        None,
        ge=1,
        description="Shorter fragments are not shown to the refiner; null takes 2,048 in reasoning mode (or "
        "tirgen.step_tokens, if that is less), and 1 in short mode.",
    )

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "endpoint" and self.endpoint is None:
            raise ValueError("kind: endpoint needs the server's `endpoint: {url: ..., model: ...}`")
        if self.kind == "policy" and self.endpoint is not None:
            raise ValueError("endpoint does nothing with kind: policy; set kind: endpoint, or remove it")
        if self.template is not None and self.template not in PROMPT_TEMPLATES:
            raise ValueError(f"template {self.template!r} is unknown; choose one of {sorted(PROMPT_TEMPLATES)}")
        return self

    def template_for(self, policy_template: str) -> str:
        """The template of the generator's prompts, for a policy that is trained under ``policy_template``."""
        return self.template or WITHOUT_TOOLS.get(policy_template, policy_template)

    def fragment_minimum(self, step_tokens: int, *, thinking: bool) -> int:
        """Tokens of a fragment that the refiner is shown, at the least."""
        if self.min_fragment_tokens is not None:
            return self.min_fragment_tokens
        return min(MIN_FRAGMENT_TOKENS, step_tokens) if thinking else 1
