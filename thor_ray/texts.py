"""Figures as people read them."""

from collections.abc import Mapping
from typing import Any

Figure = float | int | str | None
"""Something to show; ``None`` is shown as a dash."""


def duration(seconds: float) -> str:
    """A time span for people: ``7 s``, ``2 min 05 s``, ``1 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def figure_text(value: Figure) -> str:
    """A figure for people: three significant digits, thousands grouped, a dash for ``None``."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share as ``61.5 %``; a dash where it is undefined."""
    return "–" if share is None else f"{share * 100:.1f} %"


def policy_label(name: str) -> str:
    """How people call an evaluated policy of the report."""
    return {"rl": "RL", "rl_self_correction": "RL + correction"}.get(name, name.replace("_", " "))


def claim_text(claim: Mapping[str, Any]) -> str:
    """A claim in one line: what, how much, and what it is measured against."""
    return f"{claim['name']}: {figure_text(claim['value'])} ({claim['relation']} {figure_text(claim['threshold'])})"
