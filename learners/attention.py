"""Attention inside each sequence of a packed row, which is what makes packing equal to padding.

Several sequences lie one after the other in a row; none may look at another. Instead of masking the square of the whole
row, attention runs over each sequence alone, so that its cost is the sum of their squares: on GPUs in one
variable-length flash kernel, elsewhere sequence by sequence.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

PACKED: Final = "packed"
"""Name of the attention implementation, as transformers' models take it."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each sequence of a row; the interface is that of transformers' attention functions.

    Args:
        module: The attention layer.
        query: ``[1, heads, tokens, width]``; any number of rows where they are not packed.
        key: ``[1, key heads, tokens, width]``.
        value: ``[1, key heads, tokens, width]``.
        attention_mask: Must be ``None``.
        dropout: Must be 0.
        scaling: Of the scores; ``None`` is ``width ** -0.5``.
        cu_seq_lens_q: int32 ``[sequences + 1]``, where each sequence begins, and the end; ``None`` for a row of one.
        max_length_q: Of the longest sequence.
        options: What else a model hands over; refused where it would change the result.

    Returns:
        ``[1, tokens, heads, width]``, and no weights.

    Raises:
        NotImplementedError: the layer wants a kind of attention that is not done here.
    """
    wanted = {name: options[name] for name in ("sliding_window", "softcap", "s_aux") if options.get(name) is not None}
    if wanted or attention_mask is not None or dropout:
        raise NotImplementedError(
            f"packing knows plain causal attention only, not {wanted}; set learner.packing: false"
        )
    if cu_seq_lens_q is None or max_length_q is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling)  # type: ignore[no-any-return]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _flash(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    return _sequence_by_sequence(query, key, value, cu_seq_lens_q, scaling), None


def _flash(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int, scaling: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
    causal = (-1, 0)
    attended = varlen_attn(
        q, k, v, starts, starts, longest, longest, scale=scaling, window_size=causal, enable_gqa=True
    )
    assert isinstance(attended, Tensor), "no auxiliary outputs were asked for"
    return attended.unsqueeze(0)


def _sequence_by_sequence(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scaling: float | None) -> Tensor:
    lengths = starts.diff().tolist()
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    attended = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True) for q, k, v in parts
    ]
    # Joined token by token, as the layer goes on with them: the other way round it would have to copy them once more.
    return torch.cat([each.transpose(1, 2) for each in attended], dim=1)


AttentionInterface.register(PACKED, packed_attention)
