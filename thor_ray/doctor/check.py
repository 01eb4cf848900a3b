"""One line of what ``thor doctor`` finds."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    Attributes:
        name: What was looked at.
        verdict: How it came out.
        found: What was found.
        remedy: What to do, where something is to be done.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""
