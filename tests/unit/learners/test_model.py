"""Token log-probs equal those of plain logits, however the vocabulary projection is cut."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen3Config, Qwen3ForCausalLM

from learners.attention import packed_attention
from learners.model import (
    TokenLogProbs,
    UnsupportedModelError,
    VocabularyProjection,
    load_policy,
    prepare,
    rebuild_policy,
)

VOCABULARY = 50


def tiny(*, tied: bool = True) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            tie_word_embeddings=tied,
            initializer_range=0.2,
        )
    )


IDS = torch.randint(1, VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(1))
MASK = torch.tensor([[0] * 3 + [1] * 8, [0] * 2 + [1, 0] * 3 + [0] * 3, [0] + [1] * 6 + [0] * 4], dtype=torch.bool)


def reference(model: Qwen3ForCausalLM, temperature: float = 1.0) -> Tensor:
    """Log-softmax of the whole logits, with an attention mask that hides what is not in the sequence."""
    log_probs = torch.log_softmax(model(IDS).logits / temperature, -1)
    chosen = log_probs[:, :-1].gather(-1, IDS[:, 1:, None]).squeeze(-1)
    return torch.where(MASK, torch.nn.functional.pad(chosen, (1, 0)), 0.0)


def reference_entropies(model: Qwen3ForCausalLM, temperature: float = 1.0) -> Tensor:
    """``-sum p log p`` of the distribution that each token was drawn from."""
    log_probs = torch.log_softmax(model(IDS).logits[:, :-1] / temperature, -1)
    return torch.where(MASK, torch.nn.functional.pad(-(log_probs.exp() * log_probs).sum(-1), (1, 0)), 0.0)


WEIGHTS = torch.randn(MASK.shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("max_logits", [VOCABULARY * 1000, VOCABULARY * 4, VOCABULARY, 1])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_values_and_gradients_do_not_depend_on_the_chunks(max_logits, tied, dtype, tolerance):
    model = tiny(tied=tied).to(dtype)
    expected = (reference(model, 0.7), reference_entropies(model, 0.7))
    found = TokenLogProbs(model, max_logits)(IDS, MASK, 0.7, with_entropies=True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        gradients = [
            torch.autograd.grad((values * WEIGHTS).sum(), list(model.parameters()), retain_graph=True)
            for values in (ours, theirs)
        ]
        for our_gradient, their_gradient in zip(*gradients, strict=True):
            torch.testing.assert_close(our_gradient, their_gradient, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.2])
def test_temperature_divides_the_logits(temperature):
    model = tiny()
    (log_probs,) = TokenLogProbs(model)(IDS, MASK, temperature)
    torch.testing.assert_close(log_probs, reference(model, temperature), rtol=1e-5, atol=1e-5)


class LargestTensor(TorchDispatchMode):
    """Watches how large a tensor any operation makes, forward or backward."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("with_entropies", [False, True])
def test_logits_never_exist_as_a_whole(with_entropies):
    tokens, width, vocabulary, max_logits = 64, 8, 1000, 4000
    projection = VocabularyProjection(torch.nn.Linear(width, vocabulary, bias=False), max_logits)
    hidden = torch.randn(tokens, width, requires_grad=True)
    with LargestTensor() as seen:
        found = projection(hidden, torch.zeros(tokens, dtype=torch.int64), 1.0, with_entropies)
        sum(values.sum() for values in found).backward()
    # The largest is the gradient of the head, or a chunk of logits; all logits would be 64,000.
    assert seen.elements == max(max_logits, width * vocabulary)


def test_padding_on_the_right_changes_nothing():
    module = TokenLogProbs(tiny())
    padded_ids, padded_mask = (torch.nn.functional.pad(tensor, (0, 5)) for tensor in (IDS, MASK))
    torch.testing.assert_close(module(padded_ids, padded_mask)[0][:, :11], module(IDS, MASK)[0], rtol=1e-5, atol=1e-5)


LENGTHS = torch.tensor([11, 8, 7])
"""The rows of ``IDS`` without what follows the last token in the loss."""


def loaded(path: Path, *, packing: bool) -> Qwen3ForCausalLM:
    tiny().save_pretrained(path)
    model: Qwen3ForCausalLM = load_policy(path, torch.float64, gradient_checkpointing=False, packing=packing)
    return model


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packing_changes_neither_values_nor_gradients(tmp_path, checkpointing):
    found = []
    for packing in (False, True):
        model = loaded(tmp_path, packing=packing)
        prepare(model, gradient_checkpointing=checkpointing)
        lengths = LENGTHS if packing else None
        log_probs, entropies = TokenLogProbs(model, VOCABULARY * 4)(IDS, MASK, 0.8, True, lengths)
        ((log_probs + 0.1 * entropies) * WEIGHTS).sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        assert all(gradient is not None for gradient in gradients)
        found.append((log_probs, entropies, gradients))
    torch.testing.assert_close(found[0], found[1], rtol=1e-11, atol=1e-12)


def test_packed_sequences_do_not_see_each_other(tmp_path):
    module = TokenLogProbs(loaded(tmp_path, packing=True))
    (before,) = module(IDS, MASK, lengths=LENGTHS)
    others = IDS.clone()
    others[1] = IDS[1].flip(0)
    (after,) = module(others, MASK, lengths=LENGTHS)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1])


def test_a_policy_for_packing_also_takes_padded_rows(tmp_path):
    (packed,) = TokenLogProbs(loaded(tmp_path, packing=True))(IDS, MASK)
    (padded,) = TokenLogProbs(loaded(tmp_path, packing=False))(IDS, MASK)
    torch.testing.assert_close(packed, padded, rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
def test_the_flash_kernel_gives_what_attention_sequence_by_sequence_gives():
    generator = torch.Generator("cuda").manual_seed(0)
    shapes = ((1, 4, 300, 64), (1, 2, 300, 64), (1, 2, 300, 64))
    inputs = [torch.randn(shape, generator=generator, device="cuda", dtype=torch.bfloat16) for shape in shapes]
    starts = torch.tensor([0, 17, 18, 150, 300], device="cuda", dtype=torch.int32)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        query, key, value = (tensor.to(dtype).requires_grad_() for tensor in inputs)
        attended, _ = packed_attention(
            torch.nn.Identity(), query, key, value, None, cu_seq_lens_q=starts, max_length_q=150
        )
        attended.square().sum().backward()
        found.append([tensor.float() for tensor in (attended, query.grad, key.grad, value.grad) if tensor is not None])
    for flash, plain in zip(*found, strict=True):
        torch.testing.assert_close(flash, plain, rtol=0.05, atol=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("packing", [False, True])
def test_values_and_gradients_on_a_gpu_are_those_in_float64(tmp_path, dtype, tolerance, packing):
    """In chunks as well; entropies too. Packed bfloat16 goes through the flash kernel."""
    found = []
    for device, kind, packed in (("cuda", dtype, packing), ("cpu", torch.float64, False)):
        model = loaded(tmp_path, packing=packed).to(device, kind)
        lengths = LENGTHS.to(device) if packed else None
        scores = TokenLogProbs(model, VOCABULARY * 4)(IDS.to(device), MASK.to(device), 0.8, True, lengths)
        (sum(scores) * WEIGHTS.to(device)).sum().backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        whole = torch.cat([gradient.flatten().double().cpu() for gradient in gradients])
        found.append((*(values.double().cpu() for values in scores), whole))
    for ours, exact in zip(*found, strict=True):
        assert torch.linalg.vector_norm(ours - exact) < tolerance * torch.linalg.vector_norm(exact)


def test_a_model_with_sliding_windows_cannot_be_packed(tmp_path):
    tiny().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    windows = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1, "layer_types": None}
    config.write_text(json.dumps(json.loads(config.read_text()) | windows))
    with pytest.raises(UnsupportedModelError, match=r"sliding_attention; set learner\.packing: false"):
        load_policy(tmp_path, torch.float32, gradient_checkpointing=False, packing=True)
    load_policy(tmp_path, torch.float32, gradient_checkpointing=False)


@pytest.mark.parametrize("option", ["sliding_window", "softcap", "s_aux"])
def test_attention_of_another_kind_is_refused(option):
    options: dict[str, Any] = {option: 2}
    tensor = torch.zeros(1, 1, 4, 8)
    with pytest.raises(NotImplementedError, match=option):
        packed_attention(torch.nn.Identity(), tensor, tensor, tensor, None, **options)


def test_rebuilding_keeps_every_parameter():
    model = tiny()
    parameters = {name: parameter + 1 for name, parameter in model.named_parameters()}
    rebuilt = rebuild_policy(model, parameters, gradient_checkpointing=False)
    for name, parameter in rebuilt.named_parameters():
        assert torch.equal(parameter, parameters[name])
    assert rebuilt.config._attn_implementation == model.config._attn_implementation
    assert rebuilt.lm_head.weight is rebuilt.model.embed_tokens.weight


def test_gradient_checkpointing_gives_the_same_gradient(tmp_path: Path):
    tiny().save_pretrained(tmp_path)
    norms = []
    for checkpointing in (False, True):
        model = load_policy(tmp_path, torch.float32, gradient_checkpointing=checkpointing)
        TokenLogProbs(model)(IDS, MASK)[0].sum().backward()
        norms.append(torch.nn.utils.get_total_norm([parameter.grad for parameter in model.parameters()]).item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_a_directory_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(UnsupportedModelError, match="not a Hugging Face model directory"):
        load_policy(tmp_path, torch.float32, gradient_checkpointing=False)


@pytest.mark.parametrize(("field", "value"), [("attention_dropout", 0.1), ("final_logit_softcapping", 30.0)])
def test_models_whose_log_probs_would_differ_from_the_engines_are_refused(tmp_path: Path, field, value):
    tiny().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {field: value}))
    with pytest.raises(UnsupportedModelError, match=field):
        load_policy(tmp_path, torch.float32, gradient_checkpointing=False)
