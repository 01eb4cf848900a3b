"""What TIRGen made of all problems: which candidates are kept, and what the whole of it comes to."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thor_ray.demonstrations import Demonstration, Funnel, Source
from thor_ray.tirgen.costs import CandidateCost
from thor_ray.tirgen.export import step_rows
from thor_ray.tirgen.ledger import Entry, Ledger


@dataclass(frozen=True, slots=True)
class TirgenResult:
    """The cold-start set and how it came about. Demonstrations stay on disk and are read one by one.

    Attributes:
        ledger: Holds every candidate.
        candidates: What is known of them, in the order in which they were asked for.
        kept: At most one per problem, in the order of the problems.
        rejections: Rule and reason by trajectory id, of all others.
        funnels: What the filters took out, by source (``generator``, ``worked_solution``), and of what both left
            (``selection``); of problems, where those are dropped that need no tools (``difficulty``).
        figures: Counts, shares and costs, plain JSON values.
    """

    ledger: Ledger
    candidates: Sequence[Entry]
    kept: Sequence[Entry]
    rejections: Mapping[str, str]
    funnels: Mapping[str, Funnel]
    figures: Mapping[str, Any]

    def demonstrations(self) -> Iterator[Demonstration]:
        """Those that are kept."""
        return (self.ledger.read(entry).demonstration for entry in self.kept)

    def steps(self) -> Iterator[dict[str, Any]]:
        """What became of each step of every candidate, kept or not (``thor_ray.tirgen.export.step_rows``)."""
        for entry in self.candidates:
            yield from step_rows(self.ledger.read(entry).demonstration, self.rejections.get(entry.id))


def figures_of(demonstrations: Iterable[Demonstration], problems: int, costs: CandidateCost) -> dict[str, Any]:
    """Counts and shares of the kept demonstrations, and what making them cost.

    Args:
        demonstrations: Looked at one by one.
        problems: How many there were.
        costs: Of all candidates, kept or not.
    """
    sources: Counter[str] = Counter({str(source): 0 for source in Source})
    calls: Counter[int] = Counter()
    blocks = failed = claims = corrected = tokens = longest = 0
    for each in demonstrations:
        trajectory = each.trajectory
        sources[str(each.source)] += 1
        calls[trajectory.calls] += 1
        blocks += trajectory.calls
        failed += trajectory.calls - trajectory.successful_calls
        claims += len(each.claims)
        corrected += sum(not claim.agrees for claim in each.claims)
        tokens += trajectory.length
        longest = max(longest, trajectory.length)
    kept = calls.total()
    return {
        "problems": problems,
        "demonstrations": kept,
        "without_demonstration": problems - kept,
        "by_source": dict(sources),
        "by_calls": {str(number): count for number, count in sorted(calls.items())},
        "blocks": blocks,
        "failing_share": failed / blocks if blocks else None,
        "claims": claims,
        "claims_corrected": corrected,
        "tokens_mean": tokens / kept if kept else None,
        "tokens_max": longest if kept else None,
        **costs.figures(kept),
    }
