"""Solutions of one question for people and programs: printed while they come, or as JSON."""

from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from thor_ray.dialogue import render_observation
from thor_ray.segments import Decoder, discarded_texts, printable, segment_texts, segments_of
from thor_ray.show import COLOURS
from thor_ray.trajectory import ExecutionResult, SpanKind, Trajectory

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class SampledTokens(Protocol):
    """`actors.live.Sampled`, which lies above this module."""

    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def begins(self) -> bool: ...
    @property
    def in_action(self) -> bool: ...


class SolutionPrinter:
    """Prints thought, code and output as they come; without colours where the console has none."""

    def __init__(self, console: Console, decode: Decoder) -> None:
        self._console = console
        self._decode = decode
        self._ids: list[int] = []
        self._shown = 0

    def tokens(self, sampled: SampledTokens) -> None:
        """Prints what new tokens add; a character whose bytes are not all there yet waits for the rest."""
        if sampled.begins:
            self._ids, self._shown = [], 0
        self._ids += sampled.ids
        text = self._decode(self._ids)
        if not text.endswith(INCOMPLETE):
            style = COLOURS[SpanKind.ACTION if sampled.in_action else SpanKind.THOUGHT]
            self._print(printable(text[self._shown :]), style)
            self._shown = len(text)

    def executed(self, result: ExecutionResult, corrected: bool) -> None:
        """Prints a program's result: as the policy reads it, or why its step is thrown away and sampled again."""
        if corrected:
            self._print(f"\n╳ {printable(result.text)}\n  the step is thrown away and sampled again\n", "dim red")
        else:
            self._print(printable(render_observation(result.text)), COLOURS[SpanKind.OBSERVATION])

    def done(self, trajectory: Trajectory) -> None:
        """Prints the answer and what it cost."""
        cost = trajectory.cost
        self._print(f"\n\nanswer: {printable(trajectory.answer or 'none')}\n", "bold")
        self._print(
            f"{trajectory.finish}; {trajectory.successful_calls} of {trajectory.calls} programs ran; "
            f"{cost.kept_tokens} tokens and {cost.discarded_tokens} thrown away; "
            f"{cost.llm_seconds:.1f} s writing, {cost.tool_seconds:.1f} s running code\n",
            "dim",
        )

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(text, style), end="", soft_wrap=True)


def print_solution(trajectory: Trajectory, console: Console, decode: Decoder) -> None:
    """Prints a finished solution the way `SolutionPrinter` prints one in the making; what was corrected is left out."""
    for segment, text in zip(segments_of(trajectory), segment_texts(trajectory, decode), strict=True):
        if segment.kind is not SpanKind.PROMPT:
            console.print(Text(printable(text), COLOURS[segment.kind]), end="", soft_wrap=True)
    SolutionPrinter(console, decode).done(trajectory)


def solution_fields(trajectory: Trajectory, decode: Decoder) -> dict[str, Any]:
    """A solution as plain JSON values: what was written, what was run, what was thrown away, what it cost."""
    cost = trajectory.cost
    return {
        "answer": trajectory.answer,
        "finish": str(trajectory.finish),
        "segments": [
            {"kind": str(segment.kind), "text": text}
            for segment, text in zip(segments_of(trajectory), segment_texts(trajectory, decode), strict=True)
            if segment.kind is not SpanKind.PROMPT
        ],
        "programs": [_program(step.code, step.result) for step in trajectory.steps],
        "thrown_away": [
            _program(attempt.code, attempt.result) | {"text": text}
            for attempt, text in zip(trajectory.discarded, discarded_texts(trajectory, decode), strict=True)
        ],
        "tokens": {
            "kept": cost.kept_tokens,
            "thrown_away": cost.discarded_tokens,
            "prompt": cost.prompt_tokens,
            "cached": cost.cached_tokens,
        },
        "seconds": {"writing": cost.llm_seconds, "code": cost.tool_seconds, "queue": cost.queue_seconds},
    }


def _program(code: str, result: ExecutionResult) -> dict[str, Any]:
    return {"code": code, "status": str(result.status), "output": result.text, "seconds": result.wall_seconds}
