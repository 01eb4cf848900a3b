"""The base that is shipped: whole, small, and as good as its card says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import thor_ray.tiny
from thor_ray.problems import LEVELS, generate
from thor_ray.tiny import base_model_path
from thor_ray.tiny.corpus import CORPUS_FAMILIES
from thor_ray.tiny.evaluate import evaluate_base
from thor_ray.tiny.pretrain import train_pretraining_tokenizer


def test_it_is_small_and_in_float32() -> None:
    assert sum(file.stat().st_size for file in base_model_path().iterdir()) < 12 * 2**20
    assert {tensor.dtype for tensor in load_file(base_model_path() / "model.safetensors").values()} == {torch.float32}


def test_it_copies_numbers_and_names_the_computation_but_seldom_knows_the_result() -> None:
    model = AutoModelForCausalLM.from_pretrained(base_model_path())
    tokenizer = AutoTokenizer.from_pretrained(base_model_path())
    fresh_seed = 987
    evaluation = evaluate_base(model, tokenizer, generate(list(CORPUS_FAMILIES), LEVELS, 60, fresh_seed, "heldout"))
    assert evaluation.copy_accuracy >= 0.99
    assert evaluation.claims >= 0.9
    assert 0 < evaluation.pass_at_1 <= 0.25


def test_its_card_and_its_report_agree() -> None:
    report = json.loads((base_model_path() / "pretrain.json").read_text())
    card = (base_model_path() / "README.md").read_text()
    assert f"{report['parameters']:,} parameters" in card
    assert f"{report['evaluation']['copy_accuracy']:.4f}" in card
    assert f"--updates {report['config']['updates']}" in card


def test_its_tokenizer_is_the_one_that_the_code_makes() -> None:
    seed = json.loads((base_model_path() / "pretrain.json").read_text())["config"]["seed"]
    shipped = AutoTokenizer.from_pretrained(base_model_path())
    assert shipped.get_vocab() == train_pretraining_tokenizer(seed).get_vocab()


def test_a_missing_base_is_named_with_the_remedy(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(thor_ray.tiny, "_BASE", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lacks config.json, model.safetensors.*thor tiny pretrain"):
        base_model_path()
