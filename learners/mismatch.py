"""How far learner and engine disagree about sampled tokens, by how old the weights were that sampled them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from learners.sequences import SequenceSource
from thor_ray.config import OffPolicyConfig

OLDEST_LAG: Final = 4
"""Sequences with tokens of at least so many versions before are counted together."""


def mismatch_by_lag(sequences: Iterable[SequenceSource], version: int, off_policy: OffPolicyConfig) -> dict[str, float]:
    """Differences ``d = log pi_learner - log pi_engine`` of sampled tokens, as the learner stood before the round.

    With lag 0 both have the same weights, so that what is left is arithmetic; a value that grows from round to round
    says that engines do not serve what the learner holds. With more it is also how far the policy has moved since.

    Args:
        sequences: With the learner's log-probs attached.
        version: Of the learner's weights.
        off_policy: Which importance weights ``exp(d)`` are cut or masked, as `thor_ray.objectives` does it.

    Returns:
        By the lag of a sequence's oldest token ``mismatch_abs/lag_<n>``, the mean of ``|d|``, ``mismatch_p99/lag_<n>``,
        its 99th percentile, and ``mismatch_k3/lag_<n>``, the mean of ``exp(d) - d - 1``, all in nats, as well as
        ``mismatch_limited/lag_<n>``, the share of tokens whose importance weight lies out of bounds.

    Raises:
        ValueError: a sequence has no log-probs of the learner's.
    """
    differences: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    limited: dict[str, list[npt.NDArray[np.bool_]]] = defaultdict(list)
    for sequence in (each.load() for each in sequences):
        if sequence.proximal_log_probs is None:
            raise ValueError(f"sequence of group {sequence.group_uid} has no log-probs of the learner's")
        difference = sequence.proximal_log_probs.astype(np.float64) - sequence.behaviour_log_probs
        sampled, age = difference[sequence.loss_mask], version - sequence.oldest_version
        differences[lag_name(age)].append(sampled)
        limited[lag_name(age)].append(_limited(sampled, age > 0, off_policy))
    figures: dict[str, float] = {}
    for lag in sorted(differences):
        found = np.concatenate(differences[lag])
        figures[f"mismatch_abs/{lag}"] = float(np.abs(found).mean())
        figures[f"mismatch_p99/{lag}"] = float(np.quantile(np.abs(found), 0.99))
        figures[f"mismatch_k3/{lag}"] = float((np.expm1(found) - found).mean())
        figures[f"mismatch_limited/{lag}"] = float(np.concatenate(limited[lag]).mean())
    return figures


def _limited(log_weights: npt.NDArray[np.float64], stale: bool, off_policy: OffPolicyConfig) -> npt.NDArray[np.bool_]:
    """Tokens of one sequence whose importance weight is cut or masked; of a sequence that needs none, no token."""
    if off_policy.when == "never" or (off_policy.when == "stale" and not stale):
        return np.zeros(log_weights.shape, np.bool_)
    if off_policy.level == "sequence":
        log_weights = np.full(log_weights.shape, log_weights.sum())
    out: npt.NDArray[np.bool_] = log_weights > np.log(off_policy.upper)
    if off_policy.mode == "mask" and off_policy.lower > 0:
        out |= log_weights < np.log(off_policy.lower)
    return out


def lag_name(lag: int) -> str:
    """``lag_0`` to ``lag_3``, and ``older``."""
    return f"lag_{lag}" if lag < OLDEST_LAG else "older"
