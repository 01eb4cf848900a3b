"""Selection where tokens are at hand: both of its halves in one call."""

from collections.abc import Iterable
from typing import Any

from thor_ray.config import FilterConfig
from thor_ray.selection import Decode, Selection, rejected_trajectories, select_groups
from thor_ray.trajectory import Group


def select(groups: Iterable[Group], filters: FilterConfig, decode: Decode | None = None, **options: Any) -> Selection:
    """What of some groups may train."""
    found = list(groups)
    return select_groups(found, rejected_trajectories(found, filters, decode), filters, **options)
