"""Reads what a language model answered as a refiner: prose, programs, and the outputs that it expects."""

import re
from dataclasses import dataclass
from typing import Final

from thor_ray.refine.refinement import Verdict

KEEP: Final = "KEEP"
OPEN: Final = "<revision>"
CLOSE: Final = "</revision>"

_THINKING: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE: Final = re.compile(r"^[ \t]*```[ \t]*([A-Za-z0-9_+-]*)[ \t]*$", re.MULTILINE)


class UnusableReplyError(ValueError):
    """A reply that is no revision.

    Attributes:
        verdict: Its name.
    """

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Segment:
    """Prose and the program that ends it.

    Attributes:
        prose: Word for word, up to the line of the fence.
        code: Without its fences.
        predicted: The output that the model expects; ``None`` if it named none.
    """

    prose: str
    code: str
    predicted: str | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """A reply.

    Attributes:
        segments: In order; none if the model found nothing for a program to do.
        tail: The prose behind the last program.
    """

    segments: tuple[Segment, ...]
    tail: str


def read_reply(text: str, *, finished: bool, goes_on: bool = False) -> Revision:
    """Takes a reply apart. A thinking part before it is left out, and so is all that is not between the two tags.

    Args:
        text: The reply.
        finished: Whether the model came to its end, rather than to the limit of its tokens.
        goes_on: It follows an earlier reply, whose opening tag counts.

    Raises:
        UnusableReplyError: it is ``endless`` or ``malformed``.
    """
    answer = _THINKING.sub("", text)
    if not goes_on and answer.strip().strip("*`.\"'") == KEEP:
        return Revision((), "")
    _, opened, inside = answer.partition(OPEN)
    if goes_on and not opened:
        inside = answer
    body, closed, _ = inside.partition(CLOSE)
    if not closed and not finished:
        raise UnusableReplyError(Verdict.ENDLESS, "the reply does not end within its tokens")
    if not opened and not goes_on:
        raise UnusableReplyError(Verdict.MALFORMED, f"neither {KEEP} nor {OPEN}")
    if not closed:
        raise UnusableReplyError(Verdict.MALFORMED, f"no {CLOSE}")
    return _read_body(body.removeprefix("\n"))


def _read_body(body: str) -> Revision:
    """Programs, each with the output block directly behind it, and the prose between them."""
    segments: list[Segment] = []
    fences = list(_FENCE.finditer(body))
    if len(fences) % 2:
        raise UnusableReplyError(Verdict.MALFORMED, "a block is not closed")
    position = 0
    for opening, closing in zip(fences[::2], fences[1::2], strict=True):
        if closing.group(1):
            raise UnusableReplyError(Verdict.MALFORMED, f"a block inside a block: {closing.group().strip()}")
        before, content = body[position : opening.start()], body[opening.end() : closing.start()].strip("\n")
        position = min(closing.end() + 1, len(body))
        match opening.group(1):
            case "python" | "py" | "python3" if content.strip():
                segments.append(Segment(before, content))
            case "output" if segments and segments[-1].predicted is None and not before.strip():
                segments[-1] = Segment(segments[-1].prose, segments[-1].code, content.strip())
            case "python" | "py" | "python3":
                raise UnusableReplyError(Verdict.MALFORMED, "an empty program")
            case "output":
                raise UnusableReplyError(Verdict.MALFORMED, "an output without a program")
            case other:
                raise UnusableReplyError(Verdict.MALFORMED, f"a block of another kind: {other or 'without a name'}")
    tail = body[position:]
    if "```" in tail or any("```" in segment.prose for segment in segments):
        raise UnusableReplyError(Verdict.MALFORMED, "a fence in the midst of a line")
    return Revision(tuple(segments), tail)
