"""How far learner and engine disagree about sampled tokens, by how old the weights were that sampled them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from learners.sequences import TrainingSequence

OLDEST_LAG: Final = 4
"""Sequences with tokens of at least so many versions before are counted together."""


def mismatch_by_lag(sequences: Iterable[TrainingSequence], version: int) -> dict[str, float]:
    """Differences ``d = log pi_learner - log pi_engine`` of sampled tokens, as the learner stood before the round.

    With lag 0 both have the same weights, so that what is left is arithmetic; a value that grows from round to round
    says that engines do not serve what the learner holds. With more it is also how far the policy has moved since.

    Args:
        sequences: With the learner's log-probs attached.
        version: Of the learner's weights.

    Returns:
        By the lag of a sequence's oldest token ``mismatch_abs/lag_<n>``, the mean of ``|d|``, ``mismatch_p99/lag_<n>``,
        its 99th percentile, and ``mismatch_k3/lag_<n>``, the mean of ``exp(d) - d - 1``; all in nats.

    Raises:
        ValueError: a sequence has no log-probs of the learner's.
    """
    differences: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for sequence in sequences:
        if sequence.proximal_log_probs is None:
            raise ValueError(f"sequence of group {sequence.group_uid} has no log-probs of the learner's")
        difference = sequence.proximal_log_probs.astype(np.float64) - sequence.behaviour_log_probs
        differences[lag_name(version - sequence.oldest_version)].append(difference[sequence.loss_mask])
    figures: dict[str, float] = {}
    for lag in sorted(differences):
        found = np.concatenate(differences[lag])
        figures[f"mismatch_abs/{lag}"] = float(np.abs(found).mean())
        figures[f"mismatch_p99/{lag}"] = float(np.quantile(np.abs(found), 0.99))
        figures[f"mismatch_k3/{lag}"] = float((np.expm1(found) - found).mean())
    return figures


def lag_name(lag: int) -> str:
    """``lag_0`` to ``lag_3``, and ``older``."""
    return f"lag_{lag}" if lag < OLDEST_LAG else "older"
