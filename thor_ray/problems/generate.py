"""Seeded generation of problems, with train and held-out sets that share neither instances nor phrasing."""

import hashlib
from collections.abc import Sequence
from random import Random
from typing import Literal, get_args

from thor_ray.problems.families import FAMILIES, LEVELS, Family, phrasings
from thor_ray.problems.families.base import Operands
from thor_ray.problems.problem import Problem

Split = Literal["train", "heldout", "validation", "test"]
"""``heldout`` is ``validation`` and ``test`` together: choose settings on the first, and report on the second once."""

_HELDOUT_SHARE = 1 / 8
_VALIDATION_SHARE = 1 / 3
"""Of the held-out instances."""
_DRAWS_BEFORE_EXHAUSTED = 3000
"""Draws in a row without a new instance after which a family's level counts as exhausted."""


def splits_of(family_name: str, key: Operands) -> frozenset[Split]:
    """The splits in which an instance lies, from a hash of its canonical key.

    The assignment depends on nothing else: no seed, no level, no order of operands.
    """
    digest = hashlib.sha256(f"{family_name}:{key}".encode()).digest()
    if int.from_bytes(digest[:4]) >= _HELDOUT_SHARE * 2**32:
        return frozenset({"train"})
    return frozenset({"heldout", "validation" if int.from_bytes(digest[4:8]) < _VALIDATION_SHARE * 2**32 else "test"})


def generate(
    families: Sequence[str],
    levels: Sequence[int],
    count: int,
    seed: int,
    split: Split,
) -> list[Problem]:
    """Draw ``count`` distinct problems, spread evenly over the families and levels.

    The same arguments give the same list. No instance occurs twice, in whatever phrasing. A problem's
    id is its family and canonical key, so equal ids across sets mean equal instances. Where a family's
    level has too few instances for its share, the others make up for it.

    Args:
        families: Names out of ``FAMILIES``.
        levels: Levels out of ``LEVELS``.
        count: How many problems; 0 gives an empty list.
        seed: Any integer.
        split: ``"train"`` shares no instance with the others, and no combination of a noun phrase with a question
            frame; ``"validation"`` and ``"test"`` share no instance with each other.

    Raises:
        ValueError: A family, level or split is unknown, listed twice or missing, ``count`` is
            negative, or there are fewer than ``count`` distinct instances to be found.
    """
    _check_arguments(families, levels, count, split)
    rng = Random(f"{split}:{seed}")
    cells = [(FAMILIES[name], level) for name in families for level in levels]
    seen: set[tuple[str, Operands]] = set()
    problems: list[Problem] = []
    while len(problems) < count and cells:
        for cell in list(cells):
            if len(problems) == count:
                break
            family, level = cell
            operands = _draw_new(family, level, rng, split, seen)
            if operands is None:
                cells.remove(cell)
            else:
                problems.append(_phrase(family, level, operands, rng, split))
    if len(problems) < count:
        raise ValueError(
            f"asked for {count} problems, but families {', '.join(families)} at levels "
            f"{', '.join(map(str, levels))} have only {len(problems)} distinct {split} instances; "
            "lower the count or add families or levels"
        )
    rng.shuffle(problems)
    return problems


def _check_arguments(families: Sequence[str], levels: Sequence[int], count: int, split: str) -> None:
    for what, given, known in (("family", families, tuple(FAMILIES)), ("level", levels, LEVELS)):
        if not given:
            raise ValueError(f"no {what} given; known: {', '.join(map(str, known))}")
        for item in given:
            if item not in known:
                raise ValueError(f"unknown {what} {item!r}; known: {', '.join(map(str, known))}")
        if len(set(given)) < len(given):
            raise ValueError(f"a {what} is listed twice: {', '.join(map(str, given))}")
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}; known: {', '.join(get_args(Split))}")
    if count < 0:
        raise ValueError(f"count must not be negative, but is {count}")


def _draw_new(
    family: Family, level: int, rng: Random, split: Split, seen: set[tuple[str, Operands]]
) -> Operands | None:
    """Operands of an instance of the split that is not in ``seen`` (it is added), or None if none is left."""
    for _ in range(_DRAWS_BEFORE_EXHAUSTED):
        operands = family.draw(rng, level)
        key = family.canonical(operands)
        if (family.name, key) not in seen and split in splits_of(family.name, key):
            seen.add((family.name, key))
            return operands
    return None


def _phrase(family: Family, level: int, operands: Operands, rng: Random, split: Split) -> Problem:
    fields = family.fields(operands)
    noun, frame = rng.choice(phrasings(family, heldout=split != "train"))
    worked = family.work(operands)
    lines = (
        rng.choice(family.restatements).format(**fields),
        *worked.lines,
        rf"The answer is \boxed{{{worked.answer}}}.",
    )
    return Problem(
        id=f"{family.name}-{'_'.join(map(str, family.canonical(operands)))}",
        question=frame.format(noun=noun.format(**fields)),
        answer=worked.answer,
        source=f"families/{family.name}",
        level=level,
        solution="\n".join(lines),
    )
