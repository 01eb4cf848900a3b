"""Whether what a program printed is what the reasoning had said."""

import re
from enum import StrEnum
from fractions import Fraction
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]{0,400}|/0*[1-9][0-9]{0,400})?")


class Agreement(StrEnum):
    """How a hand-made result compares to the program's output."""

    SAME = "same"
    """Equal in value: ``0.50`` and ``0.5``, ``2`` and ``2.0``."""
    ROUNDED = "rounded"
    """The reasoning gives the value rounded or cut off at its own last digit."""
    DIFFERENT = "different"
    NO_OUTPUT = "no_output"
    """No program ran to its end."""

    @property
    def agrees(self) -> bool:
        return self in (Agreement.SAME, Agreement.ROUNDED)


def agreement(claimed: str, observed: str | None) -> Agreement:
    """Compares a claimed value to an output, exactly; texts that are no numbers agree if they are equal.

    Args:
        claimed: As the reasoning has it, ``-7/3``, ``0.5``, ``12`` or ``True``.
        observed: What the program printed; ``None`` if none succeeded.
    """
    if observed is None:
        return Agreement.NO_OUTPUT
    stated, true = number_of(claimed), number_of(observed)
    if stated is None or true is None:
        return Agreement.SAME if claimed.strip() == observed.strip() else Agreement.DIFFERENT
    if stated == true:
        return Agreement.SAME
    unit = Fraction(1, 10 ** len(claimed.partition(".")[2]))
    return Agreement.ROUNDED if "/" not in claimed and abs(stated - true) < unit else Agreement.DIFFERENT


def number_of(text: str) -> Fraction | None:
    """The rational number that ``text`` is, of at most 400 digits on either side; ``None`` if it is anything else."""
    stripped = text.strip()
    return Fraction(stripped.rstrip(".")) if _NUMBER.fullmatch(stripped) else None
