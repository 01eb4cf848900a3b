"""Filters as data: an ordered list of rules by name, with their parameters, as recipes and the command line give them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from thor_ray.demonstrations import filters, release_rules
from thor_ray.demonstrations.demonstration import Demonstration
from thor_ray.demonstrations.funnel import Rule

RuleSpec = Mapping[str, Any]
"""``{"rule": name}`` and the rule's parameters beside it."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What rules need to know that no parameter can say.

    Attributes:
        max_tokens: Of prompt and response, by the policy's context.
        every_block: Whether no program at all may have failed; not so where failures were planted.
        seed: Of the run.
        solved_share: Share of the generator's own attempts that are right, by problem id.
        overlaps: Name of a test set, by the ids of problems that are in it.
    """

    max_tokens: int
    every_block: bool = True
    seed: int = 0
    solved_share: Mapping[str, float] = field(default_factory=dict)
    overlaps: Mapping[str, str] = field(default_factory=dict)


_PLAIN: Final[Mapping[str, Callable[..., Rule[Demonstration]]]] = {
    "no_stray_fence": filters.no_stray_fence,
    "paired_dollars": filters.paired_dollars,
    "boxed": filters.boxed,
    "no_repetition": filters.no_repetition,
    "uses_code": filters.uses_code,
    "substantial_code": filters.substantial_code,
    "answer_observed": filters.answer_observed,
    "answer_correct": filters.answer_correct,
    "long_enough": release_rules.long_enough,
    "mentions_box": release_rules.mentions_box,
    "no_failed_block": release_rules.no_failed_block,
    "no_traditional_chinese": release_rules.no_traditional_chinese,
    "thinks_with_code": release_rules.thinks_with_code,
    "few_short_blocks": release_rules.few_short_blocks,
    "answers_after_thinking": release_rules.answers_after_thinking,
}


def _fits(circumstances: Circumstances, tokens: int | None = None) -> Rule[Demonstration]:
    return filters.fits(circumstances.max_tokens if tokens is None else tokens)


def _code_passes(circumstances: Circumstances, every_block: bool | None = None) -> Rule[Demonstration]:
    return filters.code_passes(circumstances.every_block if every_block is None else every_block)


def _hard_enough(circumstances: Circumstances, threshold: float = 1.0) -> Rule[Demonstration]:
    return filters.hard_enough(circumstances.solved_share, threshold)


def _not_in_tests(circumstances: Circumstances) -> Rule[Demonstration]:
    return filters.not_in_tests(circumstances.overlaps)


def _one_per_problem(circumstances: Circumstances, seed: int | None = None) -> Rule[Demonstration]:
    return filters.one_per_problem(circumstances.seed if seed is None else seed)


def _balanced_calls(
    circumstances: Circumstances, keep: Mapping[Any, float], seed: int | None = None
) -> Rule[Demonstration]:
    ratios = {int(calls): float(share) for calls, share in keep.items()}
    return filters.balanced_calls(ratios, circumstances.seed if seed is None else seed)


_CIRCUMSTANTIAL: Final[Mapping[str, Callable[..., Rule[Demonstration]]]] = {
    "fits": _fits,
    "code_passes": _code_passes,
    "not_in_tests": _not_in_tests,
    "hard_enough": _hard_enough,
    "one_per_problem": _one_per_problem,
    "balanced_calls": _balanced_calls,
}

SET_RULES: Final[Mapping[str, str]] = {
    "hard_enough": "tirgen.drop_if_solved",
    "one_per_problem": "TIRGen itself, always",
    "balanced_calls": "tirgen.keep_by_calls",
    "not_in_tests": "problems.decontamination, before anything is written",
}
"""Rules that look beyond one demonstration, and what decides about them in a recipe."""

RULE_NAMES: Final = (*_PLAIN, *_CIRCUMSTANTIAL)
"""Every rule that a list may name."""


def _named(*names: str) -> tuple[RuleSpec, ...]:
    return tuple({"rule": name} for name in names)


OURS: Final[tuple[RuleSpec, ...]] = _named(
    "no_stray_fence",
    "paired_dollars",
    "boxed",
    "no_repetition",
    "fits",
    "uses_code",
    "code_passes",
    "substantial_code",
    "answer_observed",
    "answer_correct",
)
PAPER: Final[tuple[RuleSpec, ...]] = (
    *_named("no_stray_fence", "boxed", "answer_correct", "uses_code", "no_failed_block", "substantial_code"),
    {"rule": "hard_enough", "threshold": 1.0},
    {"rule": "one_per_problem"},
    {"rule": "balanced_calls", "keep": {1: 0.5}},
)
"""The three stages (paper section 2.2). It gives no number for the last two rules: the threshold and the ratio are ours."""

RELEASE: Final[tuple[RuleSpec, ...]] = (
    *_named("answer_correct", "no_failed_block", "long_enough", "mentions_box"),
    {"rule": "paired_dollars", "prices": False},
    *_named("no_traditional_chinese", "thinks_with_code", "few_short_blocks", "answers_after_thinking"),
    {"rule": "no_repetition", "window": 20, "limit": 20},
    {"rule": "balanced_calls", "keep": {1: 0.5}},
)
"""The repository's order. Its rule of one sample a question never takes effect, and is left out."""

RULE_LISTS: Final[Mapping[str, tuple[RuleSpec, ...]]] = MappingProxyType(
    {"ours": OURS, "paper": PAPER, "release": RELEASE}
)


def build_rules(specs: Sequence[RuleSpec], circumstances: Circumstances) -> list[Rule[Demonstration]]:
    """The rules of a list, in its order.

    Raises:
        ValueError: a rule or a parameter does not exist, or one is missing; the message names what is allowed.
    """
    return [_build(spec, circumstances) for spec in specs]


def _build(spec: RuleSpec, circumstances: Circumstances) -> Rule[Demonstration]:
    parameters = {name: value for name, value in spec.items() if name != "rule"}
    name = spec.get("rule")
    builder = _PLAIN.get(str(name)) or _CIRCUMSTANTIAL.get(str(name))
    if builder is None:
        raise ValueError(f"{name!r} is no rule; there are {', '.join(RULE_NAMES)}")
    signature = inspect.signature(builder)
    given = () if name in _PLAIN else (circumstances,)
    try:
        signature.bind(*given, **parameters)
    except TypeError as error:
        allowed = ", ".join(each for each in signature.parameters if each != "circumstances") or "no parameters"
        raise ValueError(f"rule {name}: {error}; it takes {allowed}") from error
    return builder(*given, **parameters)
