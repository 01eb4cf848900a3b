"""Sequence parallelism (DeepSpeed Ulysses, arXiv 2309.14509): several ranks share each sequence, for long contexts.

Neighbouring ranks form a group, and get the same micro-batches. Each rank takes an equal slice of the packed row through
the model, so that activations and logits are shared out too. Only attention needs all of a sequence: before it, an
all-to-all exchange gives each rank all tokens of some heads; after it, a second one all heads of its own slice.

The losses see whole sequences: log-probs are gathered, and every rank of a group computes the same loss. Its gradient
flows back through the rank's own slice alone, so that the gradients of all ranks are shares which add up, as they are
for ranks with sequences of their own (invariant 9).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

import torch
from torch import Tensor, distributed
from transformers import AttentionInterface, PreTrainedConfig

from learners.attention import packed_attention
from thor_ray.errors import UserError

SHARED: Final = "packed-ulysses"
"""Name of packed attention over shared sequences, as transformers' models take it."""


class HeadCountError(UserError):
    """The heads of a model cannot be dealt to the ranks that share its sequences."""


@dataclass(frozen=True, slots=True)
class SequenceGroup:
    """The ranks that share sequences with this one.

    Attributes:
        ranks: Their process group.
        size: How many they are.
        rank: Which of them this one is.
    """

    ranks: Any
    size: int
    rank: int

    def own_slice(self, row: Tensor) -> Tensor:
        """This rank's part ``[tokens / size]`` of ``[tokens]``."""
        return row.chunk(self.size)[self.rank]

    def gather(self, own: Tensor) -> Tensor:
        """The parts ``[tokens / size]`` of all ranks in order, ``[tokens]``.

        What is made of them must be the same on every rank: the gradient of the own part is taken for that of all.
        """
        gathered: Tensor = _Gather.apply(own, self)
        return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, group: SequenceGroup) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(own) for _ in range(group.size)]
        distributed.all_gather(parts, own.contiguous(), group=group.ranks)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        group: SequenceGroup = ctx.group
        return group.own_slice(gradients[0]), None


def join(size: int, timeout_seconds: float) -> SequenceGroup:
    """Parts all ranks into groups of neighbours. All ranks call it together, after the process group was joined.

    Args:
        size: Of each group; divides the number of ranks.
        timeout_seconds: After which an exchange gives up on a missing rank.
    """
    ranks, _ = distributed.new_subgroups(size, timeout=timedelta(seconds=timeout_seconds))
    return SequenceGroup(ranks, size, distributed.get_rank(ranks))


class Heads(Protocol):
    """What of a model's configuration decides whether its sequences can be shared."""

    num_attention_heads: int
    num_key_value_heads: int


def refuse_heads(heads: Heads, size: int) -> None:
    """Refuses a model whose attention heads cannot be dealt to ``size`` ranks.

    Each rank takes as many query heads as the others. Of key heads it takes as many too, or, where there are fewer of
    them than ranks, one that it has in common with an equal number of others.

    Raises:
        HeadCountError: says by how many ranks its sequences could be shared.
    """
    if not _can_be_dealt(heads, size):
        possible = [str(count) for count in range(1, heads.num_attention_heads + 1) if _can_be_dealt(heads, count)]
        raise HeadCountError(
            f"learner.sequence_parallel is {size}, and the model has {heads.num_attention_heads} attention heads over "
            f"{heads.num_key_value_heads} key-value heads, which cannot be dealt to so many ranks",
            f"choose one of {', '.join(possible)}",
        )


def _can_be_dealt(heads: Heads, size: int) -> bool:
    queries, keys = heads.num_attention_heads, heads.num_key_value_heads
    return queries % size == 0 and (keys % size == 0 or size % keys == 0)


def register(config: PreTrainedConfig, group: SequenceGroup) -> str:
    """Makes packed attention over the sequences of a group known to transformers.

    Args:
        config: Of the model; later calls replace what was registered for another one.
        group: Whose ranks call it together.

    Returns:
        The name of the implementation.

    Raises:
        HeadCountError: the heads cannot be dealt to the ranks.
    """
    from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF

    refuse_heads(config, group.size)
    exchange = UlyssesSPAttentionHF(
        attn=packed_attention,
        batch_size=1,
        attn_head_count=config.num_attention_heads,
        attn_head_size=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        kv_head_count=config.num_key_value_heads,
        num_hidden_layers=config.num_hidden_layers,
        process_group=group.ranks,
        seq_length_is_variable=True,
    )
    AttentionInterface.register(SHARED, exchange)
    return SHARED
