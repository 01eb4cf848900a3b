"""The tiny policy's architecture: a Qwen3 of 0.7 million parameters."""

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from thor_ray.tiny.tokenizer import CONTEXT_LENGTH


def build_model(tokenizer: PreTrainedTokenizerFast, *, layers: int, seed: int) -> Qwen3ForCausalLM:
    """A freshly initialised policy in float32.

    Heads are 32 wide because vLLM's CPU attention refuses 16. One standard deviation of 0.06 serves embeddings and
    linear layers alike: it is about ``0.7 / sqrt(hidden size)``, far above the usual 0.02, and learns sooner at
    this width.
    """
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        initializer_range=0.06,
        use_cache=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype=torch.float32,
    )
    return Qwen3ForCausalLM(config)
