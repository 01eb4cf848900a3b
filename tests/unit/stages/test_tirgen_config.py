"""TIRGen settings that would do nothing, or leave nothing, are refused before a run starts."""

import pytest

from actors.codec import TokenizerCodec
from thor_ray.config import RecipeError, TirgenConfig, validate_recipe
from thor_ray.tiny.tokenizer import train_tokenizer


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"attempts": 0, "worked_solutions": False}, "leaves nothing"),
        ({"difficulty_samples": 8}, "difficulty_samples does nothing"),
        ({"flawed_again": 0.5}, "flawed_again does nothing"),
        ({"keep_by_calls": {0: 0.5}}, "keep_by_calls"),
        ({"keep_by_calls": {1: 1.5}}, "keep_by_calls"),
        ({"drop_if_solved": 0.0}, "drop_if_solved"),
    ],
)
def test_pointless_settings_are_refused(settings, told):
    with pytest.raises(RecipeError, match=told):
        validate_recipe({"tirgen": settings}, "test")


def test_the_defaults_are_the_papers():
    config = TirgenConfig()
    assert (config.step_tokens, config.temperature) == (512, 0.6)
    assert (config.flawed_first, config.flawed_again) == (0.0, 0.0)


def test_a_tokenizer_without_an_end_of_sequence_is_refused_where_it_is_needed():
    tokenizer = train_tokenizer(["What is 1 + 2?"])
    assert TokenizerCodec(tokenizer).end_of_sequence == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        _ = TokenizerCodec(tokenizer).end_of_sequence
