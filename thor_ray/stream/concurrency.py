"""How many groups an engine samples at a time, found out from the pressure on its key-value cache.

Additive-increase rules are too slow here and a fixed number is a guess: the limit grows by a quarter while the cache has
room, and gives way when it fills up or, at once, when the engine had to preempt sequences (prime-rl's controller).
"""

import math
from dataclasses import dataclass
from typing import Final

MOST_GROUPS: Final = 1024
"""Never more on one engine at a time, whatever it says."""


@dataclass(frozen=True, slots=True)
class EnginePressure:
    """What an engine says about itself from time to time.

    Attributes:
        kv_usage: Share of the key-value cache that is in use, in [0, 1].
        preemptions: Sequences that it had to evict and compute anew since its last report.
        waiting: Sequences that it has no place for: as many are decoded side by side as it can.
    """

    kv_usage: float
    preemptions: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class ConcurrencyRule:
    """Bounds and thresholds.

    Attributes:
        initial: Groups at a time before anything is known; also the least that a growing limit starts from.
        minimum: Never fewer than this.
        maximum: Never more than this.
        grow_below: Usage below which the limit grows, if it is what holds the engine back: where sequences wait for
            a place already, more groups would only wait and grow old.
        trim_above: Usage above which the limit falls a little.
    """

    initial: int = 4
    minimum: int = 1
    maximum: int = MOST_GROUPS
    grow_below: float = 0.6
    trim_above: float = 0.85

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.initial <= self.maximum:
            raise ValueError(f"1 <= minimum <= initial <= maximum does not hold for {self}")
        if not 0 < self.grow_below < self.trim_above <= 1:
            raise ValueError(f"0 < grow_below < trim_above <= 1 does not hold for {self}")

    def next_limit(self, limit: int, running: int, pressure: EnginePressure) -> int:
        """The limit after a report.

        What is running beyond a lowered limit goes on to its end; nothing is started until it has come down to it.

        Args:
            limit: Until now.
            running: Groups that the engine samples.
            pressure: Of this engine.
        """
        if pressure.preemptions:
            # From what is running: the limit may be far above what the engine ever saw.
            wanted = math.floor(min(limit, running) * 0.75)
        elif pressure.kv_usage > self.trim_above:
            wanted = min(limit, running) - 1
        elif pressure.kv_usage < self.grow_below and running >= limit and not pressure.waiting:
            wanted = math.ceil(limit * 1.25)
        else:
            wanted = limit
        return max(self.minimum, min(self.maximum, wanted))
