"""What figures are copied to while a run goes on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from thor_ray.run_directory import MetricsLine


class Sink(Protocol):
    """Gets every line of metrics after it stands in ``metrics.jsonl``.

    A sink that fails logs why and falls silent; it never fails the run.
    """

    def log(self, line: MetricsLine) -> None:
        """Takes one line."""

    def log_rollouts(self, stage: str, round_index: int, records: Path) -> None:
        """Takes note of a file of trajectories that was just written."""

    def close(self, *, succeeded: bool) -> None:
        """Writes out what is still buffered; nothing follows."""


def scalars(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers among figures, those inside of others as ``name/key``; undefined ones are left out.

    The limits of an interval are ``name/low`` and ``name/high``.
    """
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key}", number) for key, number in scalars(value))
        elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            yield from scalars({f"{name}/low": value[0], f"{name}/high": value[1]})
        elif isinstance(value, int | float):
            yield name, float(value)
