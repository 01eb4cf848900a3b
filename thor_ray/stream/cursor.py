"""Which problem is asked next, for ever, and from where to go on after a resume."""

from random import Random


class ProblemCursor:
    """Every problem once before any comes again, in an order of its own each time.

    The order of an epoch follows from seed and epoch alone, so that two whole numbers are all the state there is to
    its random numbers. It is the order of ``thor_ray.stages.problem_sets.problem_batches``.

    Args:
        count: Problems there are, at least 1.
        seed: Of the run.
        drawn: How many have been drawn before.

    Raises:
        ValueError: there is no problem, or ``drawn`` is negative.
    """

    def __init__(self, count: int, seed: int, drawn: int = 0) -> None:
        if count < 1 or drawn < 0:
            raise ValueError(f"a cursor needs problems and a position, not count={count}, drawn={drawn}")
        self.count, self.seed, self.drawn = count, seed, drawn
        self._order = self._shuffled(drawn // count)

    def draw(self) -> int:
        """The index of the next problem, in ``[0, count)``."""
        epoch, position = divmod(self.drawn, self.count)
        if position == 0:
            self._order = self._shuffled(epoch)
        self.drawn += 1
        return self._order[position]

    def _shuffled(self, epoch: int) -> list[int]:
        return Random(f"{self.seed}:{epoch}").sample(range(self.count), self.count)
