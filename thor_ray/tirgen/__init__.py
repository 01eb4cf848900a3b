"""TIRGen's parts that are pure: how solutions are cut into steps, and what is told about the rewriting of them."""

from thor_ray.tirgen.difference import Difference, filter_difference
from thor_ray.tirgen.report import RewriteReport, claim_table, funnel_table, verdict_table
from thor_ray.tirgen.steps import split_steps

__all__ = [
    "Difference",
    "RewriteReport",
    "claim_table",
    "filter_difference",
    "funnel_table",
    "split_steps",
    "verdict_table",
]
