"""Rules of the official release's filter which the paper does not have, for comparison (spec B.7, the table of the repository).

They are made for reasoning models: long responses with a thinking part. On short chains of thought they leave nothing.
"""

import re
from math import ceil
from typing import Final

from thor_ray.demonstrations.demonstration import Demonstration
from thor_ray.demonstrations.funnel import Rule, each_alone
from thor_ray.dialogue import ACTION_OPEN
from thor_ray.trajectory import FinishReason

SHORTEST_TOKENS: Final = 3000
FEW_LINES: Final = 5
SHORT_SHARE: Final = 0.4

_THINKING: Final = re.compile(r"<think>(.*?)</think>", re.DOTALL)


def long_enough(tokens: int = SHORTEST_TOKENS) -> Rule[Demonstration]:
    """Prompt and response have ``tokens`` tokens at least."""

    def reject(demonstration: Demonstration) -> str | None:
        return "too short" if demonstration.trajectory.length < tokens else None

    return each_alone("long_enough", reject, tokens=tokens)


def mentions_box() -> Rule[Demonstration]:
    """The word ``boxed`` occurs; the release's test for an empty box never takes effect."""
    return each_alone("mentions_box", lambda each: None if "boxed" in each.response else "no box")


def no_failed_block() -> Rule[Demonstration]:
    """No program failed; a response without any passes, its share of passes being 1 by definition there."""

    def reject(demonstration: Demonstration) -> str | None:
        failed = any(step.result.status.failed for step in demonstration.trajectory.steps)
        return "a program failed" if failed else None

    return each_alone("no_failed_block", reject)


def no_traditional_chinese() -> Rule[Demonstration]:
    """No Chinese character that only traditional writing has.

    The release asks a conversion table. Here a character counts that the traditional character set Big5 has and the simplified
    one GB 2312 lacks.
    """

    def reject(demonstration: Demonstration) -> str | None:
        return "traditional Chinese" if any(map(_is_traditional, set(demonstration.response))) else None

    return each_alone("no_traditional_chinese", reject)


def thinks_with_code() -> Rule[Demonstration]:
    """There is a closed thinking part, with a program in it."""

    def reject(demonstration: Demonstration) -> str | None:
        thinking = _THINKING.search(demonstration.response)
        if thinking is None:
            return "no closed thinking part"
        return None if ACTION_OPEN.strip() in thinking.group(1) else "no program while thinking"

    return each_alone("thinks_with_code", reject)


def few_short_blocks(lines: int = FEW_LINES, share: float = SHORT_SHARE) -> Rule[Demonstration]:
    """At most ``ceil(share * programs)`` programs have ``lines`` lines or fewer, blank ones and comments aside.

    One program alone is never rejected, however short: the rounding up sees to that in the release as well.
    """

    def reject(demonstration: Demonstration) -> str | None:
        codes = [step.code for step in demonstration.trajectory.steps]
        short = sum(_effective_lines(code) <= lines for code in codes)
        return "short programs" if short > ceil(share * len(codes)) else None

    return each_alone("few_short_blocks", reject, lines=lines, share=share)


def answers_after_thinking() -> Rule[Demonstration]:
    """Something follows the thinking part, and the response has come to its end."""

    def reject(demonstration: Demonstration) -> str | None:
        _, closed, answer = demonstration.response.partition("</think>")
        if not closed or not answer.strip():
            return "no answer after thinking"
        return None if demonstration.trajectory.finish is FinishReason.ANSWERED else "unfinished"

    return each_alone("answers_after_thinking", reject)


def _effective_lines(code: str) -> int:
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


def _is_traditional(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff" and _has("big5", character) and not _has("gb2312", character)


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
