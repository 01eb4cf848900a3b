"""What calls of language models consume."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one call or, added up, of many.

    Attributes:
        calls: Answers that were waited for, failed ones included.
        prompt_tokens: Tokens that the model read, as its server counts them.
        completion_tokens: Tokens that it wrote.
        seconds: Wall time, waits and repetitions included; of calls side by side, the sum.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.seconds + other.seconds,
        )

    def to_json(self) -> dict[str, float]:
        """Plain JSON values."""
        return asdict(self)
