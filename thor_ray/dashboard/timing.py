"""Where the seconds of trajectories went: waiting for the engine, for programs, for a free sandbox, for the grader."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from thor_ray.dashboard.index import SECONDS, Snapshot

PERCENTILES: Final = (50, 90, 99, 100)


def timing_object(snapshot: Snapshot, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Seconds of the trajectories in ``mask``.

    Returns:
        ``trajectories``, ``parts`` (for each of ``SECONDS`` and their sum ``seconds``: ``total``, ``share`` of all
        seconds, ``mean`` and ``percentiles``), and ``rounds``: by stage and round in the order of the records, the mean
        seconds of each part.
    """
    count = int(mask.sum())
    columns = {name: snapshot.numbers(name)[mask] for name in (*SECONDS, "seconds")}
    whole = float(columns["seconds"].sum())
    return {
        "trajectories": count,
        "percentiles": PERCENTILES,
        "parts": {name: _distribution(values, whole) for name, values in columns.items()} if count else {},
        "rounds": _by_round(snapshot, mask, columns) if count else [],
    }


def _distribution(values: npt.NDArray[np.float64], whole: float) -> dict[str, Any]:
    total = float(values.sum())
    return {
        "total": total,
        "share": total / whole if whole > 0 else None,
        "mean": float(values.mean()),
        "percentiles": [float(value) for value in np.percentile(values, PERCENTILES)],
    }


def _by_round(
    snapshot: Snapshot, mask: npt.NDArray[np.bool_], columns: dict[str, npt.NDArray[np.float64]]
) -> list[dict[str, Any]]:
    names, codes = snapshot.stage_codes
    numbers, rounds = codes[mask], snapshot.table["round"].to_numpy()[mask]
    result = []
    for number, name in enumerate(names):
        of_stage = numbers == number
        for round_index in np.unique(rounds[of_stage]):
            here = of_stage & (rounds == round_index)
            means = {part: float(columns[part][here].mean()) for part in SECONDS}
            slow = float(np.percentile(columns["seconds"][here], 99))
            result.append(
                {"stage": str(name), "round": int(round_index), "count": int(here.sum()), "p99": slow, **means}
            )
    return result
