"""The surface form of a trajectory: prompts, fences, observation text (spec sections A.2, A.3, A.7).

No new special tokens: actions and observations are Markdown fences inside the assistant's turn, so any causal
language model can read and write them.
"""

from collections.abc import Callable, Sequence
from typing import Final

ACTION_OPEN: Final = "```python\n"
ACTION_CLOSE: Final = "\n```"
OBSERVATION_OPEN: Final = "\n```output\n"
OBSERVATION_CLOSE: Final = "\n```\n"

OBSERVATION_LIMIT: Final = 256
"""Observations of this many characters or more keep their first and last half (spec A.7: 128 + ``...`` + 128)."""

PROMPT_TEMPLATES: Final = {
    "bare": "{question}\n",
    "tir": (
        "A conversation between User and Assistant. The User poses a mathematics problem, and the Assistant solves it "
        "by reasoning step by step in natural language, writing Python programs where a computation helps. Each "
        "program stands alone in a ```python block, does its own imports and prints its result; what it printed is "
        "then shown in an ```output block. The Assistant puts the final answer in \\boxed{{}}.\n\n"
        "User: {question}\n\nAssistant:"
    ),
}
"""Plain-text prompt templates. ``bare`` is for policies that have been trained on nothing else."""


def render_prompt(template: str, question: str) -> str:
    """The prompt of ``question``.

    Raises:
        KeyError: ``template`` is not one of ``PROMPT_TEMPLATES``.
    """
    return PROMPT_TEMPLATES[template].format(question=question)


def render_action(code: str) -> str:
    """The action that holds ``code``, fences included."""
    return f"{ACTION_OPEN}{code}{ACTION_CLOSE}"


def render_observation(text: str) -> str:
    """The observation that holds ``text``, fences included; it follows the action's closing fence directly."""
    return f"{OBSERVATION_OPEN}{text}{OBSERVATION_CLOSE}"


def extract_code(action: str) -> str:
    """The program inside an action's text.

    Raises:
        ValueError: the text is not one action, opening fence first and closing fence last.
    """
    start, end = action.find(ACTION_OPEN), action.rfind(ACTION_CLOSE)
    # An empty program's closing fence shares its newline with the opening one.
    if start < 0 or end < start + len(ACTION_OPEN) - 1:
        raise ValueError(f"not an action: {action[:80]!r}")
    return action[start + len(ACTION_OPEN) : max(end, start + len(ACTION_OPEN))]


def shorten_observation(text: str, limit: int = OBSERVATION_LIMIT) -> str:
    """Keeps the first and last half of a long text: at ``limit`` characters or more, 128 + ``...`` + 128."""
    if len(text) < limit:
        return text
    half = limit // 2
    return f"{text[:half]}...{text[-half:]}"


def escape_fences(text: str) -> str:
    """Breaks triple backticks, so that what a program prints cannot close its own observation or open an action."""
    return text.replace("```", "'''")


def opening_fence_length(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> int:
    """How many trailing tokens of ``ids`` the opening fence of an action takes, 0 if they do not end with one.

    A fence may share its first token with the end of the thought; that token then counts as fence, because a cut
    inside a token is impossible. The result is the border between thought and action (spec section E.1).
    """
    for length in range(1, min(len(ids), 2 * len(ACTION_OPEN)) + 1):
        text = decode(ids[-length:])
        if ACTION_OPEN in text:
            return length
        if len(text) > 4 * len(ACTION_OPEN):
            return 0
    return 0
