"""What an optimizer step says of itself, whatever its loss."""

from collections.abc import Sequence

from learners.packing import PlannedBatch, computed_tokens
from learners.sequences import SequenceSource
from learners.worker import RankUpdate


def update_figures(
    sequences: Sequence[SequenceSource],
    shares: Sequence[Sequence[PlannedBatch]],
    results: Sequence[RankUpdate],
    seconds: float,
) -> dict[str, float]:
    """The figures that supervised and reinforcement learning have in common.

    Args:
        sequences: The mini-batch.
        shares: How it was dealt out.
        results: Of all replicas.
        seconds: Wall time of the step.
    """
    tokens, first = sum(map(len, sequences)), results[0]
    return {
        "loss": sum(result.loss for result in results),
        "grad_norm": first.grad_norm,
        "skipped": float(first.skipped),
        "learning_rate": first.learning_rate,
        "sequences": len(sequences),
        "tokens": sum(sequence.loss_tokens for sequence in sequences),
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "padding": 1 - tokens / sum(computed_tokens(share) for share in shares),
    }
