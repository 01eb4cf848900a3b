"""Shapes count weights and saved activations as transformers' own models have them."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from thor_ray.planning import ModelShape, context_faults, shape_of
from thor_ray.planning.memory import layer_numbers
from thor_ray.planning.shape import KNOWN_SHAPES
from thor_ray.tiny import base_model_path

MODELS = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}
SMALL = {
    "vocab_size": 128,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


def small(kind: str, layers: int, **changes):
    config, model = MODELS[kind]
    return model(config(**{**SMALL, "num_hidden_layers": layers, **changes}))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_counted_from_a_config(kind, tied):
    model = small(kind, 2, tie_word_embeddings=tied)
    shape = ModelShape.from_config(model.config.to_dict())
    assert shape is not None
    assert shape.parameters == model.num_parameters()


@pytest.mark.parametrize("name", KNOWN_SHAPES)
def test_the_papers_models_have_the_sizes_that_their_makers_state(name):
    shape = KNOWN_SHAPES[name]
    config, model = MODELS["qwen3" if shape.query_norm else "qwen2"]
    with torch.device("meta"):
        built = model(
            config(
                vocab_size=shape.vocabulary,
                hidden_size=shape.hidden,
                intermediate_size=shape.intermediate,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.key_heads,
                head_dim=shape.head_width,
                tie_word_embeddings=shape.tied,
            )
        )
    assert built.num_parameters() == shape.parameters
    # From the cards: 1.54, 7.61, 1.7 and 8.2 billion.
    stated = {"Qwen2.5-Math-1.5B": 1.54, "Qwen2.5-Math-7B": 7.61, "Qwen3-1.7B": 1.7, "Qwen3-8B": 8.2}
    assert shape.parameters / 1e9 == pytest.approx(stated[name], rel=0.02)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_a_layer_keeps_for_its_backward_pass_what_the_estimate_says(kind):
    def saved_bytes(layers: int) -> int:
        model = small(kind, layers).to(torch.bfloat16)
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        # The tensors are held, so that no two of them get the same address.
        kept: dict[int, torch.Tensor] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in weights:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = model.model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
        assert output.last_hidden_state.requires_grad
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    tokens = 256
    shape = ModelShape.from_config(small(kind, 1).config.to_dict())
    assert shape is not None
    of_a_layer = saved_bytes(3) - saved_bytes(2)
    assert 2 * tokens * layer_numbers(shape) == pytest.approx(of_a_layer, rel=0.02)


def test_a_directory_tells_more_than_its_name(tmp_path):
    directory = tmp_path / "Qwen3-8B"
    assert shape_of(directory) == KNOWN_SHAPES["Qwen3-8B"]
    directory.mkdir()
    (directory / "config.json").write_text((base_model_path() / "config.json").read_text())
    shape = shape_of(directory)
    assert shape is not None
    assert (shape.layers, shape.vocabulary) == (3, 1152)


@pytest.mark.parametrize(
    "config", [{}, [], {**SMALL, "num_hidden_layers": 2, "num_experts": 8}, {"hidden_size": "wide"}]
)
def test_what_is_no_dense_decoder_has_no_shape(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert shape_of(tmp_path) is None


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"max_position_embeddings": 4096}, False),
        ({"max_position_embeddings": 4095}, True),
        ({"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "yarn"}}, False),
        ({"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default"}}, True),
        ({}, False),
    ],
)
def test_a_context_longer_than_the_models_positions_is_refused(tmp_path, config, refused):
    (tmp_path / "config.json").write_text(json.dumps(config))
    faults = list(context_faults(tmp_path, 4096))
    assert [True] * refused == [f"{config['max_position_embeddings']} positions" in fault.message for fault in faults]
