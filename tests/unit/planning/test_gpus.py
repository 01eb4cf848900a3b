"""Data sheets are found by the names that CUDA gives, and operations are counted as papers count them."""

import pytest

from benches.learning.workload import GPU_SHAPES
from thor_ray.planning.gpus import GPUS, gpu_named
from thor_ray.planning.shape import KNOWN_SHAPES


@pytest.mark.parametrize(
    ("device", "known"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", None),
        ("cpu", None),
    ],
)
def test_a_device_has_the_data_sheet_of_its_name(device, known):
    assert gpu_named(device) == (None if known is None else GPUS[known])


@pytest.mark.parametrize("name", KNOWN_SHAPES)
def test_short_sequences_take_six_operations_for_each_weight_and_token(name):
    shape = KNOWN_SHAPES[name]
    weights = shape.parameters - (0 if shape.tied else shape.hidden * shape.vocabulary)
    assert shape.update_operations([1] * 1000, 1000) == pytest.approx(6 * weights * 1000, rel=0.001)


def test_attention_and_the_head_count_by_length_and_by_tokens_in_the_loss():
    shape = next(iter(KNOWN_SHAPES.values()))
    short, long = shape.update_operations([1000, 1000], 100), shape.update_operations([2000], 100)
    assert long - short == 6 * shape.layers * shape.queries * (2000**2 - 2 * 1000**2)
    more = shape.update_operations([2000], 101) - long
    assert more == 6 * shape.hidden * shape.vocabulary


def test_the_bench_counts_alike():
    lengths, loss_tokens = [300, 500], 400
    by_shape = {name: shape for name, shape in KNOWN_SHAPES.items() if "1.5" in name}
    for shape in by_shape.values():
        ours = shape.update_operations(lengths, loss_tokens)
        assert ours == pytest.approx(GPU_SHAPES["1.5b"].operations(lengths, loss_tokens), rel=0.001)
    assert by_shape
