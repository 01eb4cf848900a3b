"""One trajectory as the page shows it: plain JSON values, text made harmless to look at (``segments.printable``)."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from thor_ray.dashboard.highlighting import highlighted
from thor_ray.records import Record
from thor_ray.segments import (
    Decoder,
    Segment,
    discarded_in,
    discarded_texts,
    printable,
    segment_texts,
    segments_of,
    step_of,
)
from thor_ray.trajectory import NO_VERSION, ExecutionResult, SpanKind, Trajectory

UNFINISHED: Final = "\N{REPLACEMENT CHARACTER}"
"""What a decoder makes of tokens that hold only the first bytes of a character."""
CONTEXT_TOKENS: Final = 4
"""Tokens that are decoded before a token to see what it adds; a character has at most four bytes."""


def trajectory_object(record: Record, decode: Decoder | None) -> dict[str, Any]:
    """All but the single tokens.

    Returns:
        The summary, ``segments`` (``_segment_object``), ``cost``, ``parent``, and counts of tokens: ``tokens`` in all,
        ``trained_tokens`` in the loss mask.
    """
    trajectory, learned = record.trajectory, record.learned
    texts = record.texts or (segment_texts(trajectory, decode) if decode else ())
    attempts = record.discarded_texts or (discarded_texts(trajectory, decode) if decode else ())
    return {
        "trajectory_id": trajectory.id,
        "problem_id": trajectory.problem_id,
        "stage": str(record.stage),
        "round": record.round,
        "group_uid": record.group_uid,
        "group_kind": str(record.group_kind),
        "group_dropped": record.group_dropped,
        "excluded": learned.excluded,
        "finish": str(trajectory.finish),
        "answer": _shown(trajectory.answer),
        "gold_answer": _shown(record.gold_answer),
        "grade_status": trajectory.grade_status,
        "reward": _finite(trajectory.reward),
        "advantage": _finite(learned.advantage),
        "parent": None if trajectory.parent is None else asdict(trajectory.parent),
        "cost": {name: _finite(value) for name, value in asdict(trajectory.cost).items()},
        "tokens": trajectory.length,
        "trained_tokens": int(trajectory.loss_mask().sum()),
        "first_sampled": trajectory.first_sampled,
        "segments": [
            _segment_object(trajectory, segment, texts[number] if texts else None, attempts)
            for number, segment in enumerate(segments_of(trajectory))
        ],
    }


def tokens_object(record: Record, decode: Decoder | None) -> dict[str, list[Any]]:
    """Every token: lists of one entry a token, ``None`` where the records hold nothing.

    Returns:
        ``texts`` (what the token adds to the text), ``mask`` (whether the loss sees it), ``versions`` (weights that
        sampled it), ``log_probs`` (of the behaviour policy, in nats), ``gaps`` (log-prob of the learner at the start of
        the round minus that of the behaviour policy).
    """
    trajectory = record.trajectory
    sampled = trajectory.versions != NO_VERSION
    proximal = record.learned.proximal_log_probs
    gaps = None if proximal is None else proximal - trajectory.log_probs
    return {
        "ids": list(trajectory.ids),
        "texts": [None] * trajectory.length if decode is None else pieces(trajectory.ids, decode),
        "mask": trajectory.loss_mask().tolist(),
        "versions": [
            int(version) if known else None for version, known in zip(trajectory.versions, sampled, strict=True)
        ],
        "log_probs": _where(trajectory.log_probs, sampled),
        "gaps": [None] * trajectory.length if gaps is None else _where(gaps, sampled),
    }


def pieces(ids: Sequence[int], decode: Decoder) -> list[str]:
    """What each token adds to the text. A character of several tokens stands with the last of them."""
    texts = []
    shown = 0  # Tokens before this one are part of a text that was given out already.
    for end in range(1, len(ids) + 1):
        start = max(0, shown - CONTEXT_TOKENS)
        before, after = decode(ids[start:shown]), decode(ids[start:end])
        if after.endswith(UNFINISHED) and end < len(ids) and end - shown < CONTEXT_TOKENS:
            texts.append("")
            continue
        texts.append(printable(after[len(before) :] if after.startswith(before) else decode(ids[shown:end])))
        shown = end
    return texts


def _segment_object(
    trajectory: Trajectory, segment: Segment, text: str | None, attempts: Sequence[str]
) -> dict[str, Any]:
    step = step_of(trajectory, segment)
    shown = _shown(text)
    sampled = trajectory.versions[segment.start : segment.end] != NO_VERSION
    versions = trajectory.versions[segment.start : segment.end][sampled]
    log_probs = trajectory.log_probs[segment.start : segment.end][sampled]
    return {
        "kind": str(segment.kind),
        "start": segment.start,
        "end": segment.end,
        "trained": segment.trained,
        "text": shown,
        "code": highlighted(shown) if shown is not None and segment.kind is SpanKind.ACTION else None,
        "result": _result_object(step.result) if step is not None and segment.kind is SpanKind.ACTION else None,
        "inherited": step is not None and step.inherited,
        "versions": [int(versions.min()), int(versions.max())] if len(versions) else None,
        "mean_log_prob": _finite(float(log_probs.mean())) if len(log_probs) else None,
        "attempts": [
            {
                "number": number,
                "step_index": attempt.step_index,
                "cut": attempt.cut,
                "tokens": len(attempt.ids),
                "text": printable(attempts[number] if attempts else attempt.code),
                "result": _result_object(attempt.result),
            }
            for number, attempt in discarded_in(trajectory, segment)
        ],
    }


def _result_object(result: ExecutionResult) -> dict[str, Any]:
    return {
        "status": str(result.status),
        "failed": result.status.failed,
        "exception_type": _shown(result.exception_type),
        "text": printable(result.text),
        "wall_seconds": _finite(result.wall_seconds),
        "queue_seconds": _finite(result.queue_seconds),
    }


def _shown(text: str | None) -> str | None:
    return None if text is None else printable(text)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _where(values: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]) -> list[float | None]:
    kept = known & np.isfinite(values)
    return [round(float(value), 5) if keep else None for value, keep in zip(values, kept, strict=True)]
