import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.config import load_recipe
from thor_ray.errors import UserError
from thor_ray.planning import Lengths, read_lengths

COUNTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=20)


@given(COUNTS, st.lists(st.integers(1, 10**6), max_size=5))
def test_lists_are_taken_as_they_are(tmp_path_factory, lengths, steps):
    path = tmp_path_factory.mktemp("lengths") / "dist.json"
    path.write_text(json.dumps({"lengths": lengths, "step_lengths": steps} if steps else lengths))
    found = read_lengths(path)
    assert [each.tokens for each in found.episodes] == lengths
    assert [each.tokens for each in found.steps] == steps
    assert found.mean == pytest.approx(sum(lengths) / len(lengths))


def test_counts_by_length_are_weights_however_large(tmp_path):
    path = tmp_path / "dist.json"
    path.write_text('{"100": 3, "500": 1, "900": 0}')
    assert sorted(each.tokens for each in read_lengths(path).episodes) == [100, 100, 100, 500]
    path.write_text('{"100": 3e12, "500": 1e12}')
    found = read_lengths(path)
    assert len(found.episodes) < 10_000
    assert found.mean == pytest.approx(200)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2", "is not JSON"),
        ("[]", "no list of lengths"),
        ("7", "no list of lengths"),
        ("[100, 0]", "0 is no number of tokens"),
        ("[100, null]", "None is no number of tokens"),
        ("[true]", "True is no number of tokens"),
        ("[1e999]", "inf is no number of tokens"),
        ('{"lengths": [1], "step_length": [1]}', "'step_length' is not known"),
        ('{"short": 3}', "a length or its count is no number"),
        ('{"100": 0}', "not all of them 0"),
        ('{"100": -1, "200": 5}', "0 or more"),
    ],
)
def test_what_is_no_distribution_is_refused_with_the_form(tmp_path, text, said):
    path = tmp_path / "dist.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as refusal:
        read_lengths(path)
    assert "give [512, 900, ...]" in refusal.value.remedy


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.json cannot be read: No such file"):
        read_lengths(tmp_path / "nothing.json")


def test_what_is_assumed_stays_within_the_recipe():
    recipe = load_recipe("thor-7b")
    found = Lengths.assumed(recipe)
    assert max(each.tokens for each in found.episodes) <= recipe.rl.sampling.max_new_tokens
    assert "assumed" in found.source
    assert found.draw_step(Random(0)).tokens <= recipe.rl.sampling.max_new_tokens / 2
