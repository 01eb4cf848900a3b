"""Adapters change nothing at first, train alone, and merge into the weights that they stand for."""

import sys

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from learners.adapters import AdapterError, attach, merge, merge_groups, merge_saved
from thor_ray.config import LoraConfig

IDS = torch.arange(1, 12)[None]


def tiny(dtype: torch.dtype = torch.float64) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=50, tie_word_embeddings=True, **shape, **heads)).to(dtype)


def adapted(config: LoraConfig) -> Qwen3ForCausalLM:
    """With adapters that make a difference."""
    model = tiny()
    attach(model, config)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize("layers", [(), ("q_proj", "down_proj")])
def test_merged_weights_are_the_model_with_its_adapters(layers):
    config = LoraConfig(rank=4, alpha=6, layers=layers)
    model = adapted(config)
    merged = {
        name: merge(parameters[0], parameters[1], parameters[2], scaling) if len(parameters) > 1 else parameters[0]
        for name, (parameters, scaling) in merge_groups(model).items()
    }
    saved = merge_saved(dict(model.named_parameters()), config.alpha / config.rank)
    plain = tiny()
    before = plain(IDS).logits
    names = [name for name, _ in plain.named_parameters()]
    assert list(merged) == list(saved) == names
    plain.load_state_dict(merged, strict=False)
    torch.testing.assert_close(plain(IDS).logits, model(IDS).logits)
    assert not torch.allclose(plain(IDS).logits, before)
    assert all(torch.equal(merged[name], saved[name]) for name in names)


def test_at_first_nothing_changes_and_only_adapters_train():
    model, plain = tiny(), tiny()
    attach(model, LoraConfig(rank=2))
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)


def test_adapters_begin_the_same_everywhere_and_leave_random_states_alone():
    models = [tiny(), tiny()]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    for model in models:
        attach(model, LoraConfig())
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(3)
        state = torch.get_rng_state()
    for (name, left), (_, right) in zip(*(model.named_parameters() for model in models), strict=True):
        assert torch.equal(left, right), name


def test_adapters_have_the_dtype_of_the_policy():
    model = tiny(torch.bfloat16)
    attach(model, LoraConfig())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_layers_that_do_not_exist_are_refused():
    with pytest.raises(AdapterError, match=r"learner\.lora\.layers \['nowhere'\]"):
        attach(tiny(), LoraConfig(layers=("nowhere",)))


def test_without_peft_the_remedy_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(AdapterError, match="pip install peft"):
        attach(tiny(), LoraConfig())
