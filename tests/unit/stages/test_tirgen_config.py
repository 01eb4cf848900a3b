"""TIRGen settings that would do nothing, or leave nothing, are refused before a run starts."""

import pytest

from actors.codec import TokenizerCodec
from tests.support.scripted_chat import Say, scripted
from thor_ray.config import RecipeError, TirgenConfig, validate_recipe
from thor_ray.config.generation import GeneratorConfig
from thor_ray.dialogue import PROMPT_TEMPLATES
from thor_ray.stages.tirgen_models import endpoint_faults
from thor_ray.tiny.tokenizer import train_tokenizer

SERVER = {"url": "http://127.0.0.1:1/v1", "model": "m"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"attempts": 0, "worked_solutions": False}, "leaves nothing"),
        ({"difficulty_samples": 8}, "difficulty_samples does nothing"),
        ({"flawed_again": 0.5}, "flawed_again does nothing"),
        ({"keep_by_calls": {0: 0.5}}, "keep_by_calls"),
        ({"keep_by_calls": {1: 1.5}}, "keep_by_calls"),
        ({"drop_if_solved": 0.0}, "drop_if_solved"),
        ({"refiner": {"kind": "oracle"}}, "refiner.kind"),
        ({"refiner": {"kind": "endpoint"}}, "needs the server's"),
        ({"refiner": {"kind": "endpoint", "endpoint": {"url": "localhost:8000", "model": "m"}}}, "is no address"),
        ({"refiner": {"endpoint": SERVER}}, "endpoint does nothing with kind: symbolic"),
        ({"refiner": {"kind": "llm", "extra": {"a": 1}}}, "extra does nothing with kind: llm"),
        ({"refiner": {"rounds": 3}}, "rounds does nothing with kind: symbolic"),
        ({"refiner": {"kind": "llm", "prompt": "v0"}}, "prompt 'v0' is unknown; there is v1"),
        ({"refiner": {"kind": "llm"}, "flawed_first": 0.5}, "flawed_first does nothing with refiner.kind: llm"),
        ({"generator": {"kind": "endpoint"}}, "needs the server's"),
        ({"generator": {"endpoint": SERVER}}, "endpoint does nothing with kind: policy"),
        ({"generator": {"template": "rhyme"}}, "template 'rhyme' is unknown"),
        ({"generator": {"min_fragment_tokens": 600}}, "more than step_tokens 512"),
    ],
)
def test_pointless_settings_are_refused(settings, told):
    with pytest.raises(RecipeError, match=told):
        validate_recipe({"tirgen": settings}, "test")


def test_the_defaults_are_the_papers():
    config = TirgenConfig()
    assert (config.step_tokens, config.temperature) == (512, 0.6)
    assert (config.flawed_first, config.flawed_again) == (0.0, 0.0)


def test_generator_and_refiner_are_the_papers_too():
    config = TirgenConfig()
    assert (config.generator.top_k, config.generator.top_p, config.generator.continues) == (50, 1.0, True)
    assert (config.refiner.kind, config.refiner.steps_view, config.refiner.prompt) == ("symbolic", "isolated", "v1")
    assert (config.refiner.temperature, config.refiner.top_k, config.refiner.rounds) == (0.6, 50, 5)


@pytest.mark.parametrize(
    ("policy_template", "template", "thinking", "minimum"),
    [
        ("tir", "cot", False, 1),
        ("chat", "chat_cot", False, 1),
        ("reasoning", "reasoning_cot", True, 2048),
        ("bare", "bare", False, 1),
    ],
)
def test_the_generator_writes_without_tools_in_the_mode_of_its_template(policy_template, template, thinking, minimum):
    config = GeneratorConfig()
    assert config.template_for(policy_template) == template
    assert PROMPT_TEMPLATES[template].thinking is thinking
    assert config.fragment_minimum(4096, thinking=thinking) == minimum
    assert GeneratorConfig(template="chat").template_for(policy_template) == "chat"


def test_a_server_that_does_not_answer_or_serves_something_else_is_a_fault_before_anything_starts():
    with scripted(Say("")) as server:
        recipes = [
            validate_recipe(
                {"tirgen": {"refiner": {"kind": "endpoint", "endpoint": {"url": server.url, "model": name}}}}, "test"
            )
            for name in ("scripted", "Qwen3-32B")
        ]
        faults = [[fault.message for fault in endpoint_faults(recipe)] for recipe in recipes]
    gone = [fault.message for fault in endpoint_faults(recipes[0])]
    assert faults[0] == []
    assert faults[1] == [f"tirgen.refiner.endpoint: {server.url} serves scripted, not Qwen3-32B"]
    assert len(gone) == 1
    assert "cannot be reached" in gone[0]


def test_a_tokenizer_without_an_end_of_sequence_is_refused_where_it_is_needed():
    tokenizer = train_tokenizer(["What is 1 + 2?"])
    assert TokenizerCodec(tokenizer).end_of_sequence == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        _ = TokenizerCodec(tokenizer).end_of_sequence
