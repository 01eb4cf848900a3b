"""Accuracy figures of one problem from n samples. Each is a value in [0, 1] whose mean over problems is the figure.

None of them depends on the order of the samples.
"""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from math import comb


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is correct.

    ``1 - C(n - c, k) / C(n, k)`` (Chen et al. 2021, arXiv 2107.03374, equation 1): the share of subsets of k samples
    that hold a correct one. For k = 1 it is the share of correct samples, avg@n.

    Args:
        samples: n, how many were drawn.
        correct: c, how many of them are correct.
        k: Size of the subset.

    Raises:
        ValueError: not ``0 <= c <= n`` or not ``1 <= k <= n``.
    """
    if not 0 <= correct <= samples:
        raise ValueError(f"{correct} of {samples} samples cannot be correct")
    _check_size(samples, k)
    return 1 - comb(samples - correct, k) / comb(samples, k)


def majority_at_k(classes: Sequence[int | None], correct: Sequence[bool], k: int) -> float:
    """Chance that the most frequent answer of k samples is correct, over all subsets of k samples.

    Samples without an answer do not vote; if nobody votes, nothing is correct. A tie counts as the share of the tied
    answers that are correct: what drawing lots would give on average, without drawing any. Computed exactly, by
    counting how often a class of answers wins with t votes while s others have t as well.

    Args:
        classes: Class of each sample's answer (``answers.answer_classes``); ``None`` does not vote.
        correct: Whether each sample is correct. A class whose members were graded differently counts by its share.
        k: Size of the subset.

    Raises:
        ValueError: the lists differ in length, or not ``1 <= k <= n``.
    """
    if len(classes) != len(correct):
        raise ValueError(f"{len(classes)} answers, but {len(correct)} verdicts")
    _check_size(len(classes), k)
    votes = Counter(name for name in classes if name is not None)
    right = Counter(name for name, good in zip(classes, correct, strict=True) if good)
    silent = len(classes) - votes.total()
    won = Fraction(0)
    for name, size in votes.items():
        if right[name]:
            others = [votes[other] for other in votes if other != name]
            wins = sum(comb(size, t) * _subsets_won(others, silent, k - t, t) for t in range(1, min(size, k) + 1))
            won += Fraction(right[name], size) * wins
    return float(won / comb(len(classes), k))


def _subsets_won(others: Sequence[int], silent: int, left: int, most: int) -> Fraction:
    """Subsets of ``left`` further samples in which no other class has more than ``most`` votes.

    A subset in which s other classes reach ``most`` counts as 1 / (s + 1).
    """
    # By (samples taken, classes that tie): in how many ways.
    ways = {(0, 0): 1}
    for size in others:
        grown: Counter[tuple[int, int]] = Counter()
        for (taken, ties), count in ways.items():
            for votes in range(min(size, most, left - taken) + 1):
                grown[taken + votes, ties + (votes == most)] += count * comb(size, votes)
        ways = grown
    return sum(
        (Fraction(count * comb(silent, left - taken), ties + 1) for (taken, ties), count in ways.items()), Fraction(0)
    )


def _check_size(samples: int, k: int) -> None:
    if not 1 <= k <= samples:
        raise ValueError(f"k must lie between 1 and the number of samples {samples}, but is {k}")


def sizes_up_to(samples: int) -> list[int]:
    """Subset sizes that are worth showing: powers of two below ``samples``, and ``samples`` itself."""
    return [*(1 << power for power in range(max(samples - 1, 0).bit_length())), *([samples] if samples else [])]
