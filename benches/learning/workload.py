"""The model and the sequences that all contestants of ``learner_speed.py`` have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from learners.sequences import TrainingSequence
from thor_ray.trajectory import GroupKind

GROUP_SIZE: Final = 4
TOKENIZER: Final = Path(__file__).parents[2] / "thor_ray/tiny/base"


@dataclass(frozen=True, slots=True)
class Shape:
    """A model of Qwen3's architecture with random weights.

    Attributes:
        width: Of the residual stream.
        layers: Number of layers.
        heads: Of the queries.
        key_heads: Of keys and values, each for several queries.
        head_width: Of each head.
        hidden: Width inside the feed-forward network, which is gated.
        vocabulary: Number of token ids; embeddings serve as head, too.
    """

    width: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    hidden: int
    vocabulary: int

    @property
    def layer_weights(self) -> int:
        """Weights of all matrices in the layers; neither embeddings nor norms."""
        attention = 2 * self.width * (self.heads + self.key_heads) * self.head_width
        return self.layers * (attention + 3 * self.width * self.hidden)

    def operations(self, lengths: Sequence[int], loss_tokens: int) -> float:
        """Floating-point operations that an update needs: forward pass and twice that for the backward pass.

        Args:
            lengths: Of all sequences.
            loss_tokens: Tokens that are projected onto the vocabulary.
        """
        linear = 6 * (self.layer_weights * sum(lengths) + self.width * self.vocabulary * loss_tokens)
        # Two products of length² / 2 each, 2 operations an element, three passes.
        attention = 6 * self.layers * self.heads * self.head_width * sum(length**2 for length in lengths)
        return float(linear + attention)


GPU_SHAPES: Final = {
    "0.5b": Shape(896, 24, 14, 2, 64, 4864, 151_936),
    "1.5b": Shape(1536, 28, 12, 2, 128, 8960, 151_936),
}
"""Shapes of the Qwen2.5 family."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What all contestants have in common.

    Attributes:
        shape: Of the model.
        sequences: Of the mini-batch.
        max_length: Tokens of the longest sequence.
        mean_share: Mean length as a share of ``max_length``.
        prompt_tokens: Of each sequence.
        micro_batch_tokens: Most tokens of a forward pass, padding included.
        repeats: Updates that count.
        threads: Of each contestant.
        seed: Of weights and sequences.
        gpu: In bfloat16 on a GPU, else in float32 on the CPU.
        gradient_checkpointing: Trade a second forward pass for memory.

    Raises:
        ValueError: The numbers do not fit together.
    """

    shape: Shape
    sequences: int
    max_length: int
    mean_share: float
    prompt_tokens: int
    micro_batch_tokens: int
    repeats: int
    threads: int
    seed: int
    gpu: bool
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1 or self.sequences % self.rows or self.sequences % GROUP_SIZE:
            raise ValueError(
                f"{self.sequences} sequences must be a multiple of {GROUP_SIZE}, and of the {self.rows} of "
                f"{self.max_length} tokens that fit into a micro-batch of {self.micro_batch_tokens}"
            )
        if not 0 < self.mean_share <= 1 or not 0 < self.prompt_tokens <= self.max_length - 8 or self.repeats < 1:
            raise ValueError(
                "mean_share lies in (0, 1], the prompt leaves 8 tokens to sample, and there is one repeat or more"
            )

    @property
    def rows(self) -> int:
        """Sequences of a padded micro-batch, whatever their lengths."""
        return self.micro_batch_tokens // self.max_length

    @property
    def dtype(self) -> str:
        return "bfloat16" if self.gpu else "float32"


def draw_lengths(settings: Settings) -> list[int]:
    """Lengths ``max_length · u^k`` for evenly spaced ``u``, shuffled: the longest is ``max_length`` exactly.

    ``k`` is such that their mean is ``mean_share · max_length``, up to the shortest, which leave 8 tokens to sample:
    0.5 is uniform, less is a long tail, as in RL, and 1 leaves nothing to pad.
    """
    exponent = 1 / settings.mean_share - 1
    spaced = (np.arange(settings.sequences) + 1) / settings.sequences
    lengths = np.maximum(np.rint(settings.max_length * spaced**exponent), settings.prompt_tokens + 8).astype(int)
    np.random.default_rng(settings.seed).shuffle(lengths)
    return [int(length) for length in lengths]


def make_sequences(settings: Settings) -> list[TrainingSequence]:
    """Random tokens after a prompt; a tenth in the middle is an observation. Ratios lie around 1, some are clipped."""
    chance = np.random.default_rng(settings.seed + 1)
    vocabulary = settings.shape.vocabulary
    sequences = []
    for index, length in enumerate(draw_lengths(settings)):
        mask = np.arange(length) >= settings.prompt_tokens
        middle = (settings.prompt_tokens + length) // 2
        mask[middle : middle + (length - settings.prompt_tokens) // 10] = False
        old = -np.log(vocabulary) + chance.normal(0, 0.2, length)
        sequences.append(
            TrainingSequence(
                ids=chance.integers(2, vocabulary, length),
                loss_mask=mask,
                behaviour_log_probs=np.where(mask, old, 0).astype(np.float32),
                advantage=float(chance.normal()),
                level=GroupKind.EPISODE,
                group_uid=f"g{index // GROUP_SIZE}",
            )
        )
    return sequences


def write_policy(settings: Settings, path: Path) -> None:
    """A Hugging Face directory with random weights and the tiny policy's tokenizer, for TRL asks for one."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(settings.seed)
    shape = settings.shape
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head_width,
        max_position_embeddings=settings.max_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    Qwen3ForCausalLM(config).save_pretrained(path)
    AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(path)
