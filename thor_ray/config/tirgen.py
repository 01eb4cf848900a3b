"""The recipe's section ``tirgen``."""

from typing import Any, Self

from pydantic import Field, model_validator

from thor_ray.config.generation import GeneratorConfig
from thor_ray.config.refining import RefinerConfig
from thor_ray.config.section import Section


class TirgenConfig(Section):
    """Cold-start data construction (spec section B)."""

    problems: int = Field(1500, ge=1, description="Training problems that demonstrations are built from.")
    attempts: int = Field(1, ge=0, description="Generator samples per problem; 0 uses worked solutions only.")
    temperature: float = Field(0.6, ge=0, description="Of the generator (spec B.2).")
    step_tokens: int = Field(
        512,
        ge=1,
        description="L_step, tokens per step of the generator, which is what a refiner sees: 512, for reasoning models 4,096 "
        "(spec B.2).",
    )
    generator: GeneratorConfig = GeneratorConfig()
    refiner: RefinerConfig = RefinerConfig()
    worked_solutions: bool = Field(
        True, description="Fall back on the problem's own worked solution where the generator's attempt is rejected."
    )
    flawed_first: float = Field(
        0.0, ge=0, le=1, description="Share of first code blocks in a style that fails here; 0 is the paper's filter."
    )
    flawed_again: float = Field(0.0, ge=0, le=1, description="Share of second attempts in a failing style as well.")
    drop_if_solved: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drop problems which the generator solves without tools in at least this share of samples, before "
        "anything else is made of them (spec B.7, stage 3); null keeps them.",
    )
    difficulty_samples: int = Field(
        4, ge=1, description="Samples per problem that drop_if_solved goes by, apart from the attempts."
    )
    keep_by_calls: dict[int, float] = Field(
        {},
        description="Share of demonstrations to keep by number of programs, e.g. {1: 0.5} as in the release (spec B.7); "
        "numbers that are missing keep all.",
    )

    filters: list[dict[str, Any]] = Field(
        [],
        description="Rules that each demonstration must pass, in order: `{rule: NAME}` and the rule's parameters beside it "
        "(docs/tirgen.md lists them); empty takes the list `ours`. One demonstration a problem, difficulty and balance come "
        "after them, by the fields above.",
    )

    @model_validator(mode="after")
    def _agreeing_parts(self) -> Self:
        if self.flawed_first > 0 and self.refiner.kind != "symbolic":
            raise ValueError(f"tirgen.flawed_first does nothing with refiner.kind: {self.refiner.kind}")
        minimum = self.generator.min_fragment_tokens
        if minimum is not None and minimum > self.step_tokens:
            raise ValueError(
                f"tirgen.generator.min_fragment_tokens is {minimum}, more than step_tokens {self.step_tokens}: the refiner "
                "would see nothing"
            )
        return self

    @model_validator(mode="after")
    def _known_rules(self) -> Self:
        if self.filters:
            # Only here: recipes are read by commands that must start quickly.
            from thor_ray.demonstrations.rule_list import SET_RULES, Circumstances, build_rules

            for spec in self.filters:
                if spec.get("rule") in SET_RULES:
                    raise ValueError(f"tirgen.filters: {spec['rule']} is set by {SET_RULES[spec['rule']]}")
            try:
                build_rules(self.filters, Circumstances(max_tokens=1))
            except ValueError as error:
                raise ValueError(f"tirgen.filters: {error}") from error
        return self

    @model_validator(mode="after")
    def _sensible_filters(self) -> Self:
        for calls, share in self.keep_by_calls.items():
            if calls < 1 or not 0 <= share <= 1:
                raise ValueError(
                    f"tirgen.keep_by_calls: {calls}: {share} is no number of programs with a share to keep"
                )
        if self.attempts == 0 and not self.worked_solutions:
            raise ValueError("tirgen.attempts: 0 without worked_solutions leaves nothing to build demonstrations from")
        if (
            self.drop_if_solved is None
            and self.difficulty_samples != type(self).model_fields["difficulty_samples"].default
        ):
            raise ValueError("tirgen.difficulty_samples does nothing without drop_if_solved")
        if self.flawed_again > 0 and self.flawed_first == 0:
            raise ValueError("tirgen.flawed_again does nothing without flawed_first")
        return self
