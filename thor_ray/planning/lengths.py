"""How long trajectories are: from a file, from a run, or assumed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, Self

from thor_ray.config import Recipe
from thor_ray.errors import UserError

ASSUMED_SHARE: Final = 0.25
"""Mean length as a share of the longest, where nothing is known."""

ASSUMED_SPREAD: Final = 1.0
"""Sigma of the log-normal distribution, where nothing is known: what `benches/scale_sim.py` takes, too."""

ASSUMED_DRAWS: Final = 4096

FORMATS: Final = 'give [512, 900, ...], {"lengths": [512, 900, ...], "step_lengths": [80, ...]}, or counts by length as {"512": 3, "900": 1}'


class Trajectory(NamedTuple):
    """What is known of one in advance.

    Attributes:
        tokens: Sampled ones, at least 1; prompts and observations are not counted.
        waited: Seconds that it waited for its programs and their place, if they were measured.
    """

    tokens: int
    waited: float | None = None


@dataclass(frozen=True, slots=True)
class Lengths:
    """Trajectories, a draw from which stands for any other.

    Attributes:
        episodes: Whole ones.
        steps: Step-level continuations; where empty, they are taken to be half as long as episodes.
        source: Where they are from, for people.
    """

    episodes: tuple[Trajectory, ...]
    steps: tuple[Trajectory, ...]
    source: str

    @property
    def mean(self) -> float:
        """Mean sampled tokens of an episode."""
        return sum(each.tokens for each in self.episodes) / len(self.episodes)

    def draw_step(self, random: Random) -> Trajectory:
        """One continuation."""
        if self.steps:
            return random.choice(self.steps)
        whole = random.choice(self.episodes)
        return Trajectory(math.ceil(whole.tokens / 2), whole.waited)

    def unwaited(self) -> "Lengths":
        """The same without what they waited, where something else is assumed of it."""
        episodes, steps = (tuple(Trajectory(each.tokens) for each in part) for part in (self.episodes, self.steps))
        return Lengths(episodes, steps, self.source)

    @classmethod
    def assumed(cls, recipe: Recipe) -> Self:
        """A long tail within the recipe's bounds, for want of better knowledge."""
        longest = min(recipe.rl.sampling.max_new_tokens, recipe.policy.max_context)
        random, mean = Random(0), ASSUMED_SHARE * longest
        draws = (random.lognormvariate(-(ASSUMED_SPREAD**2) / 2, ASSUMED_SPREAD) for _ in range(ASSUMED_DRAWS))
        episodes = tuple(Trajectory(max(1, min(longest, round(mean * draw)))) for draw in draws)
        return cls(episodes, (), f"assumed: log-normal, sigma {ASSUMED_SPREAD:g}, mean {mean:.0f}, at most {longest}")


def read_lengths(path: Path) -> Lengths:
    """Lengths that a JSON file holds.

    Args:
        path: A list of token counts; an object with ``lengths`` and, if wanted, ``step_lengths``; or an object of counts
            by length.

    Raises:
        UserError: it cannot be read, holds something else, or nothing.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", FORMATS) from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}", FORMATS) from error
    steps: Sequence[Any] = ()
    if isinstance(tree, dict) and "lengths" in tree:
        if unknown := sorted(set(tree) - {"lengths", "step_lengths"}):
            raise UserError(f"{path}: {unknown[0]!r} is not known", FORMATS)
        tree, steps = tree["lengths"], tree.get("step_lengths", ())
    elif isinstance(tree, dict):
        tree = _expanded(path, tree)
    return Lengths(_checked(path, tree), _checked(path, steps) if steps else (), str(path))


def _expanded(path: Path, counts: dict[str, Any]) -> list[int]:
    """Lengths as often as they occur, thinned out so that there are never more than some thousands."""
    try:
        pairs = [(int(length), float(count)) for length, count in counts.items()]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: a length or its count is no number: {error}", FORMATS) from error
    total = sum(count for _, count in pairs)
    if any(count < 0 or not math.isfinite(count) for _, count in pairs) or total <= 0:
        raise UserError(f"{path}: counts have to be 0 or more, and not all of them 0", FORMATS)
    scale = min(1.0, ASSUMED_DRAWS / total)
    return [length for length, count in pairs for _ in range(max(1, round(count * scale)) if count else 0)]


def _checked(path: Path, values: object) -> tuple[Trajectory, ...]:
    if not isinstance(values, list | tuple) or not values:
        raise UserError(f"{path} holds no list of lengths", FORMATS)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
            raise UserError(f"{path}: {value!r} is no number of tokens, 1 or more", FORMATS)
    return tuple(Trajectory(round(value)) for value in values)
