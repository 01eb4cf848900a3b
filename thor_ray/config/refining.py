"""The recipe's section ``tirgen.refiner``."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from thor_ray.config.endpoint import EndpointConfig
from thor_ray.config.section import Section


class RevisionChecksConfig(Section):
    """When a language model's revision of a step counts as another reasoning, and is refused."""

    min_kept: float = Field(
        0.6, ge=0, le=1, description="Share of the revision's words that must come from the step, in its order."
    )
    min_covered: float = Field(0.4, ge=0, le=1, description="Share of the step's words that the revision must keep.")
    max_new_numbers: int = Field(
        0,
        ge=0,
        description="Numbers that neither the step nor a program's output has; programs may use 0 to 10, 100, 1000.",
    )
    max_new_names: int = Field(0, ge=0, description="Names and variables in the prose that the step does not have.")


class RefinerConfig(Section):
    """Who turns the computations of a step into programs (spec section B.3)."""

    kind: Literal["symbolic", "llm", "endpoint"] = Field(
        "symbolic",
        description="`symbolic`: a parser, no language model; `llm`: the policy itself, on its rollout actors; `endpoint`: a "
        "language model on an OpenAI-compatible server (the paper: Qwen3-32B, thinking off).",
    )
    endpoint: EndpointConfig | None = Field(None, description="Of kind `endpoint`: the server.")
    prompt: str = Field("v1", description="Version of the prompt that language models are given.")
    steps_view: Literal["isolated", "with_question", "with_context"] = Field(
        "isolated",
        description="What a language model is shown: the step alone (paper), the problem as well, or also what was written "
        "before the step.",
    )
    temperature: float = Field(0.6, ge=0, description="Of a language model (paper).")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(50, ge=0, description="Paper: 50. 0 means all tokens, and is not sent to an endpoint.")
    reply_tokens: int | None = Field(
        None, ge=16, description="Tokens of one reply at the most; null takes twice tirgen.step_tokens."
    )
    rounds: int = Field(5, ge=1, description="Programs per step at the most.")
    extra: dict[str, Any] = Field(
        {},
        description="Added to the body of each request to an endpoint, e.g. "
        "`{chat_template_kwargs: {enable_thinking: false}}` for Qwen3 on vLLM.",
    )
    checks: RevisionChecksConfig = RevisionChecksConfig()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "endpoint" and self.endpoint is None:
            raise ValueError("kind: endpoint needs the server's `endpoint: {url: ..., model: ...}`")
        if self.kind != "endpoint":
            for name in ("endpoint", "extra"):
                if getattr(self, name):
                    raise ValueError(f"{name} does nothing with kind: {self.kind}; set kind: endpoint, or remove it")
        if self.kind == "symbolic":
            idle = sorted(self.model_fields_set - {"kind", "endpoint", "extra"})
            idle = [name for name in idle if getattr(self, name) != type(self).model_fields[name].default]
            if idle:
                raise ValueError(f"{idle[0]} does nothing with kind: symbolic; choose llm or endpoint, or remove it")
        return self

    @model_validator(mode="after")
    def _has_a_prompt(self) -> Self:
        if self.kind == "symbolic":
            return self
        # Only here: recipes are read by commands that must start quickly.
        from thor_ray.refine.prompt_set import PROMPT_VERSIONS

        if self.prompt not in PROMPT_VERSIONS:
            raise ValueError(f"prompt {self.prompt!r} is unknown; there is {', '.join(PROMPT_VERSIONS)}")
        return self
