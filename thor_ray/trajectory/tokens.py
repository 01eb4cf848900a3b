"""A trajectory's tokens: here, or wherever they were left until somebody needs them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

NO_VERSION = -1
"""Weight version of tokens that no policy sampled: prompts, observations, text written by a refiner."""


class TokenSource(Protocol):
    """Tokens that may lie elsewhere. What it says of them costs nothing; ``load`` may fetch them."""

    def __len__(self) -> int:
        """How many they are."""

    def version_counts(self) -> Mapping[int, int]:
        """By weight version, how many tokens it sampled."""

    def load(self) -> "Tokens":
        """The tokens themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Tokens in this process's memory.

    Attributes:
        ids: Token ids.
        log_probs: float32 ``[len(ids)]``, behaviour log-prob of each token that was sampled, else 0.
        versions: int32 ``[len(ids)]``, weight version that sampled each token, else ``NO_VERSION``.
    """

    ids: tuple[int, ...]
    log_probs: npt.NDArray[np.float32]
    versions: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def version_counts(self) -> Mapping[int, int]:
        """By weight version, how many tokens it sampled."""
        return Counter(self.versions[self.versions != NO_VERSION].tolist())

    def load(self) -> Self:
        """They are here."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class PackedTokens:
    """The tokens of several trajectories as one object, so that reading one copies nothing of the others.

    Attributes:
        ids: int32 ``[total]``.
        log_probs: float32 ``[total]``.
        versions: int32 ``[total]``.
        borders: int64 ``[trajectories + 1]``; those of number ``i`` are ``[borders[i], borders[i + 1])``.
    """

    ids: npt.NDArray[np.int32]
    log_probs: npt.NDArray[np.float32]
    versions: npt.NDArray[np.int32]
    borders: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tokens: Sequence[Tokens]) -> Self:
        """Packs tokens in order."""
        borders = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
        return cls(
            np.fromiter((token for each in tokens for token in each.ids), np.int32, count=int(borders[-1])),
            np.concatenate([np.empty(0, np.float32), *(each.log_probs for each in tokens)]),
            np.concatenate([np.empty(0, np.int32), *(each.versions for each in tokens)]),
            borders,
        )

    def __len__(self) -> int:
        return len(self.borders) - 1

    def __getitem__(self, index: int) -> Tokens:
        where = slice(int(self.borders[index]), int(self.borders[index + 1]))
        return Tokens(tuple(self.ids[where].tolist()), self.log_probs[where], self.versions[where])
