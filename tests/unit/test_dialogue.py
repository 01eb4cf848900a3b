"""Fences, prompts and observation text (spec sections A.2, A.7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.dialogue import (
    ACTION_CLOSE,
    ACTION_OPEN,
    PROMPT_TEMPLATES,
    escape_fences,
    extract_code,
    opening_fence_length,
    prompt_frame,
    render_action,
    render_observation,
    render_prompt,
    shorten_observation,
)


@given(st.text())
def test_code_survives_its_fences(code):
    assert extract_code(render_action(code)) == code


def test_an_empty_program_may_share_the_newline_of_both_fences():
    assert extract_code("```python\n```") == ""


@pytest.mark.parametrize("text", ["", "print(1)", "I like python\nprint(1)\n```", "```\nprint(1)\n```", "```python\nx"])
def test_only_a_closed_python_fence_is_an_action(text):
    with pytest.raises(ValueError, match="not an action"):
        extract_code(text)


@given(st.text(max_size=600))
def test_short_observations_are_kept_and_long_ones_lose_their_middle(text):
    short = shorten_observation(text)
    if len(text) < 256:
        assert short == text
    else:
        assert short == text[:128] + "..." + text[-128:]


@given(st.text(alphabet="`\nab", max_size=40))
def test_output_cannot_close_its_own_observation(text):
    inside = render_observation(escape_fences(text)).removeprefix("\n```output\n").removesuffix("\n```\n")
    assert "```" not in inside


@given(st.text(alphabet="ab `\n", max_size=30), st.integers(1, 5))
def test_the_opening_fence_is_found_in_tokens_of_any_width(thought, width):
    text = thought.replace("`", "") + ACTION_OPEN
    tokens = [text[i : i + width] for i in range(0, len(text), width)]
    length = opening_fence_length(range(len(tokens)), lambda ids: "".join(tokens[i] for i in ids))
    assert ACTION_OPEN in "".join(tokens[len(tokens) - length :])
    assert ACTION_OPEN not in "".join(tokens[len(tokens) - length + 1 :])


@given(st.text(alphabet="python`\n ", max_size=40).filter(lambda text: ACTION_OPEN not in text))
def test_text_without_the_fence_has_none(text):
    assert opening_fence_length(range(len(text)), lambda ids: "".join(text[i] for i in ids)) == 0


def echo(message: str, thinking: bool) -> str:
    return f"<user>{message}</user>{'<think>' if thinking else ''}"


@pytest.mark.parametrize("template", sorted(PROMPT_TEMPLATES))
@given(question=st.text())
def test_prompts_hold_the_question_untouched(template, question):
    frame = prompt_frame(template, echo)
    assert frame.around(question) == f"{frame.before}{question}{frame.after}"
    assert "{question}" not in frame.before + frame.after
    if not PROMPT_TEMPLATES[template].chat:
        assert render_prompt(template, question) == frame.around(question)


def test_templates_ask_for_tools_and_thinking_exactly_where_they_say_so():
    for name, template in PROMPT_TEMPLATES.items():
        assert template.text.count("{question}") == 1
        if name != "bare":
            assert ("```python" in template.text) == template.tools, name
            assert "\\boxed{}" in template.text
        assert ("<think>" in prompt_frame(name, echo).after) == template.thinking


def test_a_chat_template_is_needed_where_there_is_to_be_one():
    with pytest.raises(ValueError, match="template 'chat' needs a chat template"):
        render_prompt("chat", "1 + 1?")
    with pytest.raises(KeyError):
        render_prompt("nope", "1 + 1?")


def test_the_closing_fence_is_not_the_opening_one():
    assert ACTION_CLOSE not in ACTION_OPEN
