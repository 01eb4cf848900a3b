"""What a reward model is asked, and what it answers."""

import typing
from collections.abc import Sequence
from dataclasses import dataclass

from thor_ray.errors import UserError


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a reward model judges.

    Attributes:
        question: As it was asked, without the prompt around it.
        response: All that followed, programs and their output included, as plain text.
    """

    question: str
    response: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """As chat messages."""
        return [{"role": "user", "content": self.question}, {"role": "assistant", "content": self.response}]


class RewardModelError(UserError):
    """A model is no reward model, or cannot judge what it was given."""


class RewardModel(typing.Protocol):
    """Gives each response one number, the higher the better. Only comparisons within one question mean anything."""

    @property
    def name(self) -> str:
        """What to call it in reports."""

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """One finite number each, in order; blocks until all are there.

        Raises:
            RewardModelError: it cannot judge one of them.
            EndpointError: its server cannot be asked, or answers something else.
        """
