"""How a verb shows how far it is."""

from enum import StrEnum


class ProgressFormat(StrEnum):
    """What a verb prints while it works."""

    AUTO = "auto"
    """Bars and a table on a terminal, lines anywhere else."""
    LINES = "lines"
    JSON = "json"
    """One JSON object a line, each with its `event`."""
    QUIET = "quiet"
    """Only alarms and errors."""
