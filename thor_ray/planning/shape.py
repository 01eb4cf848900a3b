"""Sizes of a dense decoder, as its ``config.json`` states them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from thor_ray.preflight import Fault


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder with gated MLPs and grouped-query attention, such as Qwen2, Qwen3 and Llama.

    Attributes:
        layers: Number of decoder layers.
        hidden: Width of the residual stream.
        intermediate: Width inside the MLP.
        heads: Query heads.
        key_heads: Heads of keys and values.
        head_width: Width of one head.
        vocabulary: Rows of the embedding.
        tied: Whether embedding and head share their weight.
        attention_bias: Whether queries, keys and values have a bias.
        query_norm: Whether queries and keys are normalised in each head.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    tied: bool
    attention_bias: bool = False
    query_norm: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self | None:
        """Reads what a ``config.json`` holds; ``None`` if it describes something else than a dense decoder."""
        if any(key in config for key in ("num_experts", "num_local_experts", "n_routed_experts")):
            return None
        kind, heads = config.get("model_type"), config.get("num_attention_heads")
        try:
            return cls(
                layers=config["num_hidden_layers"],
                hidden=config["hidden_size"],
                intermediate=config["intermediate_size"],
                heads=config["num_attention_heads"],
                key_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
                head_width=config.get("head_dim") or config["hidden_size"] // heads,
                vocabulary=config["vocab_size"],
                tied=config.get("tie_word_embeddings", False),
                attention_bias=config.get("attention_bias", kind == "qwen2"),
                query_norm=kind == "qwen3",
            )
        except (KeyError, TypeError):
            return None

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_width

    @property
    def keys(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.key_heads * self.head_width

    @property
    def parameters(self) -> int:
        """Number of weights, a tied head counted once."""
        attention = 2 * self.hidden * (self.queries + self.keys)
        bias = (self.queries + 2 * self.keys) if self.attention_bias else 0
        head_norms = 2 * self.head_width if self.query_norm else 0
        layer = attention + bias + head_norms + 3 * self.hidden * self.intermediate + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * layer + embeddings + self.hidden

    def update_operations(self, lengths: Sequence[int], loss_tokens: int) -> float:
        """Floating-point operations that an update needs: the forward pass, and twice that for the backward pass.

        Args:
            lengths: Of all sequences, in tokens; padding is not needed.
            loss_tokens: Tokens that are projected onto the vocabulary.
        """
        head = self.hidden * self.vocabulary
        layers = self.parameters - head * (1 if self.tied else 2)
        # Two products of length² / 2 each, 2 operations an element, three passes.
        attention = 6 * self.layers * self.queries * sum(length**2 for length in lengths)
        return float(6 * (layers * sum(lengths) + head * loss_tokens) + attention)

    def cache_bytes_per_token(self, element: int) -> int:
        """Bytes of the key-value cache for one token over all layers, with ``element`` bytes a number."""
        return 2 * self.layers * self.keys * element


def _qwen(
    layers: int, hidden: int, intermediate: int, heads: int, key_heads: int, vocabulary: int, *, tied: bool, third: bool
) -> ModelShape:
    """A Qwen2.5 or, if ``third``, a Qwen3; both have heads of width 128."""
    return ModelShape(
        layers,
        hidden,
        intermediate,
        heads,
        key_heads,
        128,
        vocabulary,
        tied,
        attention_bias=not third,
        query_norm=third,
    )


KNOWN_SHAPES: Final[Mapping[str, ModelShape]] = {
    "Qwen2.5-Math-1.5B": _qwen(28, 1536, 8960, 12, 2, 151936, tied=True, third=False),
    "Qwen2.5-Math-7B": _qwen(28, 3584, 18944, 28, 4, 152064, tied=False, third=False),
    "Qwen3-1.7B": _qwen(28, 2048, 6144, 16, 8, 151936, tied=True, third=True),
    "Qwen3-8B": _qwen(36, 4096, 12288, 32, 8, 151936, tied=False, third=True),
}
"""The paper's base models, so that their recipes can be planned before the weights are there."""


def shape_of(model: Path) -> ModelShape | None:
    """The shape of a model directory, or of one of the paper's models by the directory's name.

    Returns:
        ``None`` where neither tells: there is no readable ``config.json``, or it is no dense decoder's.
    """
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return KNOWN_SHAPES.get(model.name)
    return ModelShape.from_config(config) if isinstance(config, dict) else None


def context_faults(model: Path, max_context: int) -> Iterator[Fault]:
    """The recipe's context is longer than the positions that the model knows; nothing where its config says neither."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    positions, rope = (
        config.get("max_position_embeddings"),
        config.get("rope_parameters") or config.get("rope_scaling") or {},
    )
    # Scaled rotary embeddings reach further than they say here.
    if isinstance(positions, int) and positions < max_context and rope.get("rope_type", "default") == "default":
        yield Fault(
            f"policy.max_context is {max_context}, but {model} knows {positions} positions",
            f"lower policy.max_context and the sampling's max_new_tokens to {positions} or less, or take another model",
        )
