"""What the bench of the learner compares is what it says, and its figures are computed from what it measured."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from benches import learner_speed
from benches.learning.contestants import Measurement, computed_tokens, micro_batches, trl_batch
from benches.learning.workload import GPU_SHAPES, Settings, Shape, draw_lengths, make_sequences

SHAPE = Shape(width=64, layers=2, heads=2, key_heads=1, head_width=32, hidden=96, vocabulary=50)


def settings(sequences: int = 16, max_length: int = 64, mean_share: float = 0.5, rows: int = 4) -> Settings:
    return Settings(
        shape=SHAPE,
        sequences=sequences,
        max_length=max_length,
        mean_share=mean_share,
        prompt_tokens=8,
        micro_batch_tokens=rows * max_length,
        repeats=2,
        threads=1,
        seed=0,
        gpu=False,
    )


def options(*arguments: str) -> Namespace:
    return learner_speed.argument_parser().parse_args(arguments)


@given(st.floats(0.2, 1.0), st.integers(512, 4096))
def test_lengths_have_the_mean_and_the_longest_that_were_asked_for(mean_share, max_length):
    lengths = draw_lengths(settings(256, max_length, mean_share))
    assert max(lengths) == max_length
    assert min(lengths) >= 16
    assert np.mean(lengths) / max_length == pytest.approx(mean_share, abs=0.02)


def test_lengths_come_in_no_order():
    lengths = draw_lengths(settings())
    assert lengths != sorted(lengths)
    assert lengths == draw_lengths(settings())


def test_every_layout_holds_every_sequence_within_the_budget():
    workload = settings()
    sequences = make_sequences(workload)
    tokens = sorted(int(sequence.ids.sum()) for sequence in sequences)
    for layout in ("arrival", "sorted", "packed"):
        batches = micro_batches(layout, sequences, workload)
        assert sorted(int(row.sum()) for batch in batches for row in batch.load().ids) == tokens
        assert all(batch.computed_tokens <= workload.micro_batch_tokens for batch in batches)


def test_computed_tokens_grow_from_packed_to_padded_to_the_longest_of_all():
    workload = settings()
    sequences = make_sequences(workload)
    packed, in_order, arrival, trl = (
        computed_tokens(name, sequences, workload) for name in ("packed", "sorted", "arrival", "trl")
    )
    assert packed == sum(len(sequence) for sequence in sequences)
    assert packed < in_order < arrival < trl == 16 * 64
    assert computed_tokens("torch", sequences, workload) == arrival


def test_trl_gets_the_same_tokens_and_the_same_mask():
    workload = settings()
    sequences = make_sequences(workload)
    batch = trl_batch(workload, sequences)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    for row, sequence in zip(range(len(sequences)), sequences, strict=True):
        assert ids[row, : len(sequence)].tolist() == sequence.ids.tolist()
        assert batch["completion_mask"][row].sum() == len(sequence) - workload.prompt_tokens
        assert batch["tool_mask"][row].sum() == sequence.loss_tokens
    assert batch["num_items_in_batch"] == batch["tool_mask"].sum()


def test_operations_of_one_token_without_attention_are_six_for_each_weight_of_a_matrix():
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=SHAPE.vocabulary,
            hidden_size=SHAPE.width,
            intermediate_size=SHAPE.hidden,
            num_hidden_layers=SHAPE.layers,
            num_attention_heads=SHAPE.heads,
            num_key_value_heads=SHAPE.key_heads,
            head_dim=SHAPE.head_width,
            tie_word_embeddings=True,
        )
    )
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 2)
    attention_of_one_token = 6 * SHAPE.layers * SHAPE.heads * SHAPE.head_width
    assert SHAPE.operations([1], 1) == 6 * weights + attention_of_one_token


def test_attention_grows_with_the_square_of_each_length():
    one, two, joined = (SHAPE.operations(lengths, 0) for lengths in ([100], [100, 100], [200]))
    assert two == 2 * one
    assert joined - two == 6 * SHAPE.layers * SHAPE.heads * SHAPE.head_width * 2 * 100**2


def test_the_shape_called_1_5b_has_as_many_weights():
    shape = GPU_SHAPES["1.5b"]
    assert shape.layer_weights + shape.width * shape.vocabulary == pytest.approx(1.54e9, rel=0.01)


def test_a_ratio_is_of_the_same_turn_and_its_median_decides_on_the_goal():
    slow = [Measurement(2.0, 2.0, 0.0), Measurement(20.0, 6.0, 0.0), Measurement(2.0, 2.0, 0.0)]
    fast = [Measurement(1.0, 1.0, 0.0), Measurement(10.0, 2.0, 0.0), Measurement(1.0, 2.0, 0.0)]
    (line,) = learner_speed.comparisons({"packed": fast, "trl": slow}, gpu=False)
    assert line.split("by the clock")[0].split() == ["packed", "/", "trl", "2.00", "(2.00–2.00)"]
    assert "2.00 (1.00–3.00) by CPU time   goal 1.5: reached" in line
    (line,) = learner_speed.comparisons({"packed": slow, "trl": fast}, gpu=False)
    assert "0.50 (0.33–1.00) by CPU time   goal 1.5: missed" in line


def test_the_table_gives_tokens_a_second_of_the_sequences_not_of_the_padding():
    workload = settings()
    tokens = sum(map(len, make_sequences(workload)))
    lines = learner_speed.report({"trl": [Measurement(0.5, 0.25, 0.0)] * 2}, workload, 989.0)
    (row,) = [line for line in lines if line.startswith("trl")]
    assert f"{2 * tokens:,}" in row
    assert f"{4 * tokens:,}" in row
    assert f"{16 * 64 / tokens:.2f}x" in row


def test_a_gpu_is_asked_for_by_name_and_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--gpu-model 1\.5b needs a CUDA device"):
        learner_speed.read_settings(options("--gpu-model", "1.5b"))


def test_trl_is_refused_where_it_is_not_installed_unless_it_does_not_take_part(monkeypatch):
    monkeypatch.setattr(learner_speed, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="extra `bench`"):
        learner_speed.read_settings(options())
    assert learner_speed.read_settings(options("--only", "sorted", "packed")).rows == 16


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sequences", "30"),
        ("--max-length", "512", "--micro-batch-tokens", "256"),
        ("--mean-share", "0"),
        ("--prompt-tokens", "510"),
        ("--width", "100"),
        ("--repeats", "0"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(arguments):
    with pytest.raises(ValueError, match=r"multiple|lies in"):
        learner_speed.read_settings(options(*arguments))
