"""Pretraining learns, repeats bit by bit, and writes a directory that others load."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from thor_ray.problems import LEVELS, generate
from thor_ray.tiny.corpus import CORPUS_FAMILIES
from thor_ray.tiny.evaluate import boxed_answer, claims_are_right, evaluate_base, write_solutions
from thor_ray.tiny.pretrain import PretrainConfig, PretrainReport, Progress, learning_rate_factor, pretrain

CONFIG = PretrainConfig(
    updates=12, batch_size=8, warmup_updates=4, layers=2, evaluation_problems=15, log_every=4, seed=5
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, PretrainReport, list[Progress]]:
    output = tmp_path_factory.mktemp("tiny") / "base"
    progress: list[Progress] = []
    return output, pretrain(output, CONFIG, on_progress=progress.append), progress


def test_a_few_updates_reduce_the_loss(trained) -> None:
    _, report, progress = trained
    losses = [state.loss for state in progress]
    assert [state.update for state in progress] == [4, 8, 12]
    assert losses[0] > 5.5
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 1.0
    assert report.loss == losses[-1]
    assert all(state.tokens_per_second > 0 for state in progress)
    assert progress[-1].seconds_left == 0


def test_the_same_seed_gives_the_same_bits_and_another_does_not(trained, tmp_path: Path) -> None:
    output, _, _ = trained
    weights = load_file(output / "model.safetensors")
    pretrain(tmp_path / "again", CONFIG)
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    pretrain(tmp_path / "other", PretrainConfig(updates=1, layers=2, batch_size=8, evaluation_problems=1, seed=6))
    other = load_file(tmp_path / "other" / "model.safetensors")
    assert not torch.equal(weights["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_the_directory_loads_with_transformers_and_says_what_it_is(trained) -> None:
    output, report, _ = trained
    model = AutoModelForCausalLM.from_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert (model.config.model_type, model.config.head_dim, model.config.max_position_embeddings) == ("qwen3", 32, 2048)
    assert model.config.tie_word_embeddings
    assert model.config.vocab_size == len(tokenizer) == report.vocabulary
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert report.parameters == sum(parameter.numel() for parameter in model.parameters())
    stored = json.loads((output / "pretrain.json").read_text())
    assert stored["config"]["seed"] == 5
    assert stored["evaluation"]["loss"] == report.evaluation.loss
    card = (output / "README.md").read_text()
    assert f"{report.evaluation.loss:.4f}" in card
    assert "--seed 5 --updates 12 --batch-size 8" in card
    problems = generate(list(CORPUS_FAMILIES), LEVELS, 15, CONFIG.seed, "heldout")
    assert evaluate_base(model, tokenizer, problems) == report.evaluation


def test_solutions_do_not_depend_on_what_is_batched_with_them(trained) -> None:
    output, _, _ = trained
    model, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    problems = generate(["gcd", "linear_system"], [1, 3], 6, 0, "heldout")
    together = write_solutions(model, tokenizer, problems, max_new_tokens=12)
    alone = write_solutions(model, tokenizer, problems, max_new_tokens=12, batch_size=1)
    assert together == alone


def test_a_foreign_directory_is_left_alone_and_an_old_base_is_replaced(trained, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds no pretrained base"):
        pretrain(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    small = PretrainConfig(updates=1, layers=1, batch_size=2, evaluation_problems=1)
    for seed in (1, 2):
        pretrain(tmp_path / "base", replace(small, seed=seed))
    assert json.loads((tmp_path / "base" / "pretrain.json").read_text())["config"]["seed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "thesis.tex"]


@pytest.mark.parametrize("field", ["updates", "batch_size", "layers", "threads", "evaluation_problems", "log_every"])
def test_counts_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least 1, but is 0"):
        PretrainConfig(**{field: 0})


def test_a_learning_rate_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="learning_rate must be positive, but is nan"):
        PretrainConfig(learning_rate=float("nan"))


@given(updates=st.integers(1, 500), warmup=st.integers(0, 100), decay=st.floats(0.0, 1.0))
def test_the_learning_rate_rises_stays_and_falls_but_never_vanishes(updates: int, warmup: int, decay: float) -> None:
    config = PretrainConfig(updates=updates, warmup_updates=warmup, decay_share=decay)
    factors = [learning_rate_factor(update, config) for update in range(updates)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert all(first <= second for first, second in pairwise(factors[: top + 1]))
    assert all(first >= second for first, second in pairwise(factors[top:]))


def test_claims_are_judged_up_to_their_results() -> None:
    (problem,) = generate(["gcd"], [1], 1, 0, "train")
    assert problem.solution is not None
    first, claim, last = problem.solution.split("\n")
    left = claim.rpartition(" = ")[0]
    assert claims_are_right(problem, problem.solution)
    assert claims_are_right(problem, f"Whatever.\n{left} = 7\n{last}")
    assert not claims_are_right(problem, f"{first}\n{left.replace('gcd', 'lcm')} = 7\n{last}")
    assert not claims_are_right(problem, f"{first}\n{left.replace('(', '(1')} = 7\n{last}")
    assert not claims_are_right(problem, f"{first}\n{last}")
    assert not claims_are_right(problem, "")


def test_a_second_claim_must_take_up_the_claimed_first_result() -> None:
    (problem,) = generate(["composite"], [1], 1, 0, "train")
    assert problem.solution is not None
    first, inner, outer, last = problem.solution.split("\n")
    wrong = inner.rpartition(" = ")[0] + " = 98765"
    carried = outer.replace(inner.rpartition(" = ")[2], "98765", 1)
    assert claims_are_right(problem, f"{first}\n{wrong}\n{carried}\n{last}")
    assert not claims_are_right(problem, f"{first}\n{wrong}\n{outer}\n{last}")


@pytest.mark.parametrize(
    ("solution", "answer"),
    [(r"\boxed{1} so \boxed{-7/3}.", "-7/3"), (r"\boxed{}", ""), ("no box", None), (r"\boxed{12", None)],
)
def test_the_last_box_is_the_answer(solution: str, answer: str | None) -> None:
    assert boxed_answer(solution) == answer
