"""Demonstrations for the cold start: how they are written, what they must satisfy, and what was taken out and why."""

from thor_ray.demonstrations.demonstration import Block, CheckedClaim, Demonstration, RefinedStep, Source
from thor_ray.demonstrations.filters import set_rules
from thor_ray.demonstrations.funnel import Countable, Funnel, Rejection, Rule, RuleOutcome, Sieve, objection
from thor_ray.demonstrations.rule_list import OURS, RULE_LISTS, Circumstances, build_rules
from thor_ray.demonstrations.writer import DemonstrationWriter

__all__ = [
    "OURS",
    "RULE_LISTS",
    "Block",
    "CheckedClaim",
    "Circumstances",
    "Countable",
    "Demonstration",
    "DemonstrationWriter",
    "Funnel",
    "RefinedStep",
    "Rejection",
    "Rule",
    "RuleOutcome",
    "Sieve",
    "Source",
    "build_rules",
    "objection",
    "set_rules",
]
