"""Demonstrations for the cold start: how they are written, what they must satisfy, and what was taken out and why."""

from thor_ray.demonstrations.demonstration import Block, CheckedClaim, Demonstration, RefinedStep, Source
from thor_ray.demonstrations.filters import set_rules
from thor_ray.demonstrations.funnel import Funnel, Rule, RuleOutcome, Sieve
from thor_ray.demonstrations.rule_list import OURS, RULE_LISTS, Circumstances, build_rules
from thor_ray.demonstrations.writer import DemonstrationWriter

__all__ = [
    "OURS",
    "RULE_LISTS",
    "Block",
    "CheckedClaim",
    "Circumstances",
    "Demonstration",
    "DemonstrationWriter",
    "Funnel",
    "RefinedStep",
    "Rule",
    "RuleOutcome",
    "Sieve",
    "Source",
    "build_rules",
    "set_rules",
]
