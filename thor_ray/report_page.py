"""``report.html``: one file without any outside reference, readable on a phone and in years."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from thor_ray.charts import Series, interval_chart, line_chart
from thor_ray.records import Record, read_records
from thor_ray.report import sample_rows
from thor_ray.report_sections import report_sections
from thor_ray.run_directory import RunDirectory
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
from thor_ray.texts import claim_text, duration, figure_text, policy_label
from thor_ray.trajectory import NO_VERSION, DiscardedAttempt, ExecutionResult, SpanKind, Trajectory


def render_page(report: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], recipe: str) -> str:
    """The page of a built report.

    Args:
        report: As ``build_report`` makes it.
        samples: Trajectories to show, from ``sample_views``.
        recipe: Resolved, as YAML.
    """
    template = _environment().get_template("report.html")
    sections = report_sections(report)
    return template.render(report=report, sections=sections, charts=charts(report), samples=samples, recipe=recipe)


def sample_views(directory: RunDirectory) -> list[dict[str, Any]]:
    """Trajectories worth reading, from the records."""
    decode = directory.decoder()
    return [
        sample_view(record, decode)
        for path, row in sample_rows(directory)
        for record in read_records([path], row["trajectory_id"])
    ]


def charts(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The charts for which the report has figures: title, legend and SVG."""
    drawn = []
    if stages := report["stages"]:
        title = "pass@1 on held-out problems, with 95 % intervals"
        rows = [(policy_label(name), s["pass_at_1"], *s["pass_at_1_interval"]) for name, s in stages.items()]
        drawn.append({"title": title, "legend": [], "svg": Markup(interval_chart(title, rows))})
    curve = report["rl_curve"]
    evaluations = Series(
        "pass@1, held out",
        _points(curve, "pass_at_1"),
        [(point["round"], *point["pass_at_1_interval"]) for point in curve if "pass_at_1_interval" in point],
        lines=False,
    )
    shares = [
        Series("reward", _points(curve, "reward")),
        Series("failing code blocks", _points(curve, "failing_share")),
        Series("step reward", _points(curve, "step_reward")),
        evaluations,
    ]
    drawn += _line_chart("RL: reward and failing code by round", shares, share=True)
    drawn += _line_chart("RL: sampled tokens per trajectory", [Series("tokens", _points(curve, "tokens"))], share=False)
    return drawn


def sample_view(record: Record, decode: Decoder | None) -> dict[str, Any]:
    """What the template shows of one trajectory."""
    trajectory = record.trajectory
    texts = record.texts or (segment_texts(trajectory, decode) if decode else ())
    attempts = record.discarded_texts or (discarded_texts(trajectory, decode) if decode else ())
    blocks: list[dict[str, Any]] = []
    for position, segment in enumerate(segments_of(trajectory)):
        cut_away = [
            _attempt_view(attempt, number, attempts[number] if attempts else attempt.code)
            for number, attempt in discarded_in(trajectory, segment)
        ]
        ids = trajectory.ids[segment.start : segment.end]
        block = _block_view(trajectory, segment, texts[position] if texts else "ids " + " ".join(map(str, ids)))
        # An attempt was cut away in the middle of a thought, or right before an action.
        blocks += [*cut_away, block] if segment.kind is SpanKind.ACTION else [block, *cut_away]
    return {
        "id": trajectory.id,
        "stage": str(record.stage).replace("_", " "),
        "kind": str(record.group_kind),
        "parent": trajectory.parent,
        "problem": trajectory.problem_id,
        "answer": None if trajectory.answer is None else printable(trajectory.answer),
        "gold": None if record.gold_answer is None else printable(record.gold_answer),
        "grade": trajectory.grade_status,
        "finish": str(trajectory.finish),
        "reward": figure_text(trajectory.reward),
        "failed": sum(step.result.status.failed for step in trajectory.own_steps),
        "corrected": len(trajectory.discarded),
        "dropped": record.group_dropped or record.learned.excluded,
        "blocks": blocks,
    }


def _block_view(trajectory: Trajectory, segment: Segment, text: str) -> dict[str, Any]:
    step = step_of(trajectory, segment)
    return {
        "kind": str(segment.kind),
        "label": _label(trajectory, segment),
        "text": printable(text),
        "trained": segment.trained,
        "result": _result_view(step.result) if step and segment.kind is SpanKind.ACTION else None,
    }


def _attempt_view(attempt: DiscardedAttempt, number: int, text: str) -> dict[str, Any]:
    return {
        "kind": "discarded",
        "label": f"attempt {number + 1} at step {attempt.step_index}, cut away at token {attempt.cut}",
        "text": printable(text),
        "trained": False,
        "result": _result_view(attempt.result),
    }


def _line_chart(title: str, series: Sequence[Series], *, share: bool) -> list[dict[str, Any]]:
    series = [one for one in series if one.points]
    if not series:
        return []
    svg = line_chart(title, "round", series, share=share)
    return [{"title": title, "legend": [one.name for one in series], "svg": Markup(svg)}]


def _points(curve: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(point["round"], point[name]) for point in curve if point.get(name) is not None]


def _label(trajectory: Trajectory, segment: Segment) -> str:
    """Tokens, mask, weight version and log-probs of a segment in one line."""
    where = slice(segment.start, segment.end)
    words = [f"tokens {segment.start}–{segment.end}", "trained" if segment.trained else "masked"]
    sampled = trajectory.versions[where] != NO_VERSION
    if sampled.any():
        versions, log_probs = trajectory.versions[where][sampled], trajectory.log_probs[where][sampled]
        first, last = int(versions.min()), int(versions.max())
        words.append(f"version {first}" if first == last else f"versions {first}–{last}")
        words.append(f"log-prob {np.mean(log_probs):.2f}")
    return ", ".join(words)


def _result_view(result: ExecutionResult) -> dict[str, Any]:
    kind = f" {printable(result.exception_type)}" if result.exception_type else ""
    return {"text": f"{result.status}{kind}, {result.wall_seconds * 1000:.0f} ms", "failed": result.status.failed}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("thor_ray", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "figure": figure_text,
        "claim": claim_text,
    }
    return environment
