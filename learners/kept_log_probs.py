"""Log-probs that stay in Ray's object store between the ranks that computed them and those that need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import ray

from learners.sequences import LogProbs


@dataclass(frozen=True, slots=True, eq=False)
class KeptLogProbs:
    """Those of one sequence.

    Attributes:
        together: Reference to float32 ``[total]``, the log-probs of all sequences of one call.
        start: Of these.
        end: Of these, exclusive.
    """

    together: Any
    start: int
    end: int

    @classmethod
    def of(cls, rows: Sequence[LogProbs]) -> list[Self]:
        """Puts log-probs into this node's store as one object; it is gone when the process is, or the last of these."""
        borders = np.cumsum([0, *map(len, rows)]).tolist()
        together = ray.put(np.concatenate([np.empty(0, np.float32), *rows]))
        return [cls(together, start, end) for start, end in pairwise(borders)]

    def load(self) -> LogProbs:
        """float32 ``[length]``."""
        together: LogProbs = ray.get(self.together)
        return together[self.start : self.end]
