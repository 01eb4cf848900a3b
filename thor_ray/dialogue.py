"""The surface form of a trajectory: prompts, fences, observation text (spec sections A.2, A.3, A.7).

No new special tokens: actions and observations are Markdown fences inside the assistant's turn, so any causal
language model can read and write them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ACTION_OPEN: Final = "```python\n"
ACTION_CLOSE: Final = "\n```"
OBSERVATION_OPEN: Final = "\n```output\n"
OBSERVATION_CLOSE: Final = "\n```\n"

OBSERVATION_LIMIT: Final = 256
"""Observations of this many characters or more keep their first and last half (spec A.7: 128 + ``...`` + 128)."""

_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]{6,16}(?=[>,])")

QUESTION: Final = "{question}"
"""Where the question stands in a template's text."""

THINK_OPEN: Final = "<think>\n"
"""How a reasoning model begins to think."""

_TOOLS: Final = (
    "Each program stands alone in a ```python block, does its own imports and prints its result; what it printed is then "
    "shown in an ```output block."
)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """How a question is put to a policy.

    Attributes:
        purpose: Which policies it is for.
        text: The words, with ``{question}`` once.
        chat: The words are a user's message, which the tokenizer's own chat template frames.
        thinking: The policy is asked to think, and the prompt ends where it begins to.
        tools: Programs are asked for. Without them no program may be executed either.
    """

    purpose: str
    text: str
    chat: bool = False
    thinking: bool = False
    tools: bool = True


PROMPT_TEMPLATES: Final[Mapping[str, PromptTemplate]] = {
    "bare": PromptTemplate("policies that have been trained on nothing else, such as the tiny one", f"{QUESTION}\n"),
    "tir": PromptTemplate(
        "base models: tool-integrated reasoning as a plain conversation (the paper's non-reasoning models)",
        "A conversation between User and Assistant. The User poses a mathematics problem, and the Assistant solves it by "
        f"reasoning step by step in natural language, writing Python programs where a computation helps. {_TOOLS} The "
        f"Assistant puts the final answer in \\boxed{{}}.\n\nUser: {QUESTION}\n\nAssistant:",
    ),
    "cot": PromptTemplate(
        "base models without tools: the text-only baseline",
        "A conversation between User and Assistant. The User poses a mathematics problem, and the Assistant solves it by "
        f"reasoning step by step in natural language. The Assistant puts the final answer in \\boxed{{}}.\n\n"
        f"User: {QUESTION}\n\nAssistant:",
        tools=False,
    ),
    "chat": PromptTemplate(
        "instruction-tuned models: tool-integrated reasoning in their own chat template, thinking switched off",
        "Solve the mathematics problem below. Reason step by step in natural language, and write a Python program where "
        f"a computation helps. {_TOOLS} Put the final answer in \\boxed{{}}.\n\n{QUESTION}",
        chat=True,
    ),
    "chat_cot": PromptTemplate(
        "instruction-tuned models without tools: the text-only baseline",
        "Solve the mathematics problem below. Reason step by step in natural language. Put the final answer in "
        f"\\boxed{{}}.\n\n{QUESTION}",
        chat=True,
        tools=False,
    ),
    "reasoning": PromptTemplate(
        "reasoning models: programs while they think, in their own chat template (the paper's reasoning models)",
        "You are a scientist who is at home in mathematics and in programming. While you think, use Python to calculate "
        "with numbers, to solve equations, to check hypotheses and to process data.\n\n"
        "* A program stands in a ```python block; what it printed is then shown in an ```output block.\n"
        "* Every program stands alone: it does its own imports and knows no variables of earlier ones.\n"
        "* Several programs are welcome, each of which does more than one plain sum and prints its result.\n\n"
        "When you have finished thinking, give the answer without any program, and put it in \\boxed{}.\n\n"
        f"Question: {QUESTION}",
        chat=True,
        thinking=True,
    ),
    "reasoning_cot": PromptTemplate(
        "reasoning models without tools: the text-only baseline",
        "Solve the mathematics problem below. Think step by step, and put the final answer in \\boxed{}.\n\n"
        f"Question: {QUESTION}",
        chat=True,
        thinking=True,
        tools=False,
    ),
}
"""Prompt templates by the name that recipes use (spec section A.3, in words of our own). A policy is trained and
evaluated under the same one: a recipe has one name for both, and a trained policy's directory remembers it
(`thor_ray.prompt_record`)."""


@dataclass(frozen=True, slots=True)
class PromptFrame:
    """What stands around the question in a policy's prompts, special tokens spelt out."""

    before: str
    after: str

    def around(self, question: str) -> str:
        """The whole prompt."""
        return f"{self.before}{question}{self.after}"


ChatTemplate = Callable[[str, bool], str]
"""A tokenizer's chat template: from a user's message, and whether to think, to all that stands before the response."""


def prompt_frame(template: str, chat_template: ChatTemplate | None = None) -> PromptFrame:
    """The frame of a template.

    A chat template is asked once, with a mark in the question's place, so that no question can change the frame.

    Args:
        template: One of ``PROMPT_TEMPLATES``.
        chat_template: The policy's; templates with ``chat`` need it.

    Raises:
        KeyError: there is no such template.
        ValueError: it needs a chat template and got none, or that does not repeat the user's message once, word for word.
    """
    found = PROMPT_TEMPLATES[template]
    if not found.chat:
        before, _, after = found.text.partition(QUESTION)
        return PromptFrame(before, after)
    if chat_template is None:
        raise ValueError(f"template {template!r} needs a chat template")
    rendered = chat_template(found.text, found.thinking)
    if rendered.count(QUESTION) != 1 or found.text not in rendered:
        raise ValueError("the chat template does not repeat the user's message once, word for word")
    before, _, after = rendered.partition(QUESTION)
    opened = after.rstrip().endswith(THINK_OPEN.rstrip())
    # Some chat templates open the section themselves, others leave it to the policy; ours always begins inside it.
    return PromptFrame(before, after + THINK_OPEN if found.thinking and not opened else after)


def render_prompt(template: str, question: str) -> str:
    """The prompt of ``question`` by a template that needs no tokenizer.

    Raises:
        KeyError: there is no such template.
        ValueError: it needs a chat template.
    """
    return prompt_frame(template).around(question)


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


def hide_addresses(text: str) -> str:
    """Writes ``0x0`` for the addresses that Python shows of objects, as in ``<generator object f at 0x7f4d9881da40>``.

    They differ from run to run: no seed could repeat what a policy that reads them does next (invariant 11), and there
    is nothing to learn from them.
    """
    return _ADDRESS.sub(" at 0x0", text)


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
