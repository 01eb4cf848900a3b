"""What demonstrations cost to make."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class CandidateCost:
    """What one candidate, or several, consumed.

    Attributes:
        generated_tokens: Sampled by the generator.
        refiner_tokens: Sampled by a refiner that is a language model.
        sandbox_seconds: Wall time of programs, without the time spent waiting for a free worker.
    """

    generated_tokens: int = 0
    refiner_tokens: int = 0
    sandbox_seconds: float = 0.0

    @classmethod
    def total(cls, costs: Iterable["CandidateCost"]) -> "CandidateCost":
        """All of them together."""
        generated, refined, seconds = 0, 0, 0.0
        for cost in costs:
            generated += cost.generated_tokens
            refined += cost.refiner_tokens
            seconds += cost.sandbox_seconds
        return cls(generated, refined, seconds)

    def figures(self, kept: int) -> dict[str, Any]:
        """The totals, and each of them for one of ``kept`` demonstrations; ``None`` if none was kept."""
        each = {
            f"{field.name}_per_demonstration": getattr(self, field.name) / kept if kept else None
            for field in fields(self)
        }
        return {**asdict(self), **each}
