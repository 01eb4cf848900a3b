"""How a trajectory reads: its spans as segments that were either sampled here or not.

Everything that shows a trajectory (terminal, report, dashboard) and the text column of the records use these
segments, so that what is shaded as trained is what the loss mask holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from thor_ray.trajectory import DiscardedAttempt, SpanKind, Step, Trajectory

Decoder = Callable[[Sequence[int]], str]
"""Token ids to text."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens ``[start, end)`` of one span, all inside the loss mask or all outside.

    Attributes:
        kind: Kind of the span.
        start: First token.
        end: One past the last token.
        trained: Whether the loss may see these tokens (``Trajectory.loss_mask``).
    """

    kind: SpanKind
    start: int
    end: int
    trained: bool

    def __len__(self) -> int:
        return self.end - self.start


def segments_of(trajectory: Trajectory) -> tuple[Segment, ...]:
    """The spans in order; the one that a step-level branch took over in part is split where its own tokens begin.

    Segments tile the ids as the spans do.
    """
    segments = []
    for span in trajectory.spans:
        border = min(max(span.start, trajectory.first_sampled), span.end)
        for start, end, own in ((span.start, border, False), (border, span.end, True)):
            if end > start:
                segments.append(Segment(span.kind, start, end, own and span.kind.written_by_policy))
    return tuple(segments)


def segment_texts(trajectory: Trajectory, decode: Decoder) -> tuple[str, ...]:
    """The decoded text of each segment."""
    return tuple(decode(trajectory.ids[segment.start : segment.end]) for segment in segments_of(trajectory))


def discarded_texts(trajectory: Trajectory, decode: Decoder) -> tuple[str, ...]:
    """The decoded text of each attempt that self-correction cut away."""
    return tuple(decode(attempt.ids) for attempt in trajectory.discarded)


def step_of(trajectory: Trajectory, segment: Segment) -> Step | None:
    """The step whose action or observation lies in ``segment``; ``None`` for the rest and for unexecuted actions."""
    for step in trajectory.steps:
        if step.action.start <= segment.start < step.action.end:
            return step
        if step.observation is not None and step.observation.start <= segment.start < step.observation.end:
            return step
    return None


def discarded_in(trajectory: Trajectory, segment: Segment) -> list[tuple[int, DiscardedAttempt]]:
    """The attempts, with their numbers from 0, that were cut away inside ``segment`` or at its start.

    What was cut away from the very end of the trajectory belongs to its last segment.
    """
    end = segment.end + (segment.end == trajectory.length)
    return [(n, attempt) for n, attempt in enumerate(trajectory.discarded) if segment.start <= attempt.cut < end]


_REORDERING: Final = (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, 0x2028, 0x2029)
_VISIBLE: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\N{SYMBOL FOR DELETE}",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{code: f"\\u{code:04x}" for code in (*_REORDERING, *range(0xD800, 0xE000))},
}


def printable(text: str) -> str:
    """``text`` with what would act on a terminal or a page, rather than show on it, made visible.

    Control characters become their pictures (escape is ``␛``), line breaks and tabs stay; characters that reorder or
    hide text become their ``\\u`` escapes.
    """
    return text.translate(_VISIBLE)
