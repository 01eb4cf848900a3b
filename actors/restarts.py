"""How often an engine may be started anew, and how long to wait before: pure, on whatever clock the caller brings."""

from collections import deque

from thor_ray.config import RestartConfig


class RestartBudget:
    """Restarts of one place on the cluster.

    Invariants, for any times at which engines are lost there:

    * In no span of ``within_seconds`` are there more than ``most`` restarts.
    * The first restart of a span is immediate; each further one waits twice as long as the one before, up to
      ``longest_delay_seconds``.
    * After a span without a loss the budget is whole again, and so is patience.

    Args:
        config: The recipe's section ``engine.restarts``.
    """

    def __init__(self, config: RestartConfig) -> None:
        self._config = config
        self._starts: deque[float] = deque()

    def spend(self, now: float) -> float | None:
        """An engine was lost: when another may be started; ``None`` if the budget is spent.

        Args:
            now: Seconds on any clock, never less than the restart that the last call granted.
        """
        config = self._config
        while self._starts and now - self._starts[0] >= config.within_seconds:
            self._starts.popleft()
        recent = len(self._starts)
        if recent >= config.most:
            return None
        delay = min(config.delay_seconds * 2.0 ** (recent - 1), config.longest_delay_seconds) if recent else 0.0
        self._starts.append(now + delay)
        return now + delay
