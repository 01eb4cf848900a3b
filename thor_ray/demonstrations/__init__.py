"""Demonstrations for the cold start: how they are written, what they must satisfy, and what was taken out and why."""

from thor_ray.demonstrations.demonstration import Block, CheckedClaim, Demonstration, RefinedStep, Source
from thor_ray.demonstrations.filters import set_rules, single_rules
from thor_ray.demonstrations.funnel import Funnel, Rule, RuleOutcome, Sieve
from thor_ray.demonstrations.writer import DemonstrationWriter

__all__ = [
    "Block",
    "CheckedClaim",
    "Demonstration",
    "DemonstrationWriter",
    "Funnel",
    "RefinedStep",
    "Rule",
    "RuleOutcome",
    "Sieve",
    "Source",
    "set_rules",
    "single_rules",
]
