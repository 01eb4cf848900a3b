"""A run's report as sections of tables, once for its page and for Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from thor_ray.evaluation.comparison_tables import signed_points
from thor_ray.evaluation.sections import DASH, Row, Section, Table, p_text, whole
from thor_ray.texts import duration, figure_text, percent, policy_label

CURVE_ROWS: Final = 12
"""Rounds that the table of learning shows, the first and the last among them."""

CURVE_FIGURES: Final = {
    "reward": "reward",
    "failing_share": "failing code",
    "step_reward": "step reward",
    "tokens": "tokens",
    "pass_at_1": "pass@1, held out",
}


def report_sections(report: Mapping[str, Any]) -> list[Section]:
    """Those for which the report has figures: policies, what each adds, costs."""
    return [*_policies(report), *_gains(report), *_costs(report)]


def curve_sections(report: Mapping[str, Any]) -> Iterator[Section]:
    """Learning as a table, for readers without plots."""
    rounds = report["rl_curve"]
    if not rounds:
        return
    last = len(rounds) - 1
    chosen = sorted({round(last * number / (CURVE_ROWS - 1)) for number in range(CURVE_ROWS)})
    rows = [
        Row((str(point["round"]), *(figure_text(point.get(name)) for name in CURVE_FIGURES)))
        for point in (rounds[number] for number in chosen)
    ]
    yield Section("RL by round", (Table(("round", *CURVE_FIGURES.values()), tuple(rows)),))


def _policies(report: Mapping[str, Any]) -> Iterator[Section]:
    rows = [
        Row(
            (
                policy_label(name),
                percent(stage["pass_at_1"]),
                "–".join(f"{100 * limit:.1f}" for limit in stage["pass_at_1_interval"]),
                percent(stage["code_ratio"]),
                percent(stage["code_pass_rate"]),
                f"{stage['kept_tokens']:.1f}",
                f"{stage['discarded_tokens']:.1f}",
                f"{stage['problems']} × {stage['samples_per_problem']}",
            )
        )
        for name, stage in report["stages"].items()
    ]
    if rows:
        headings = ("policy", "pass@1", "95 % interval", "code ratio", "code pass rate", "tokens kept", "discarded")
        note = (
            "pass@1 is the mean over samples; its interval takes samples of one problem for clustered. The code pass rate "
            "counts the blocks that stand in the trajectories, not the attempts that self-correction cut away."
        )
        yield Section("Held-out problems", (Table((*headings, "problems × samples"), tuple(rows)),), (note,))


def _gains(report: Mapping[str, Any]) -> Iterator[Section]:
    rows = [
        Row(
            (
                policy_label(gain["policy"]),
                policy_label(gain["over"]),
                signed_points(gain["difference"]),
                DASH if gain["low"] is None else f"{signed_points(gain['low'])} to {signed_points(gain['high'])}",
                DASH if gain["p_value"] is None else p_text(gain["p_value"]),
            )
        )
        for gain in report["gains"]
    ]
    if rows:
        headings = ("policy", "over", "points of pass@1", "95 % interval", "p")
        note = "Paired by problem: intervals resample problems, each with its samples of both policies."
        yield Section("What each part adds", (Table(headings, tuple(rows)),), (note,))


def _costs(report: Mapping[str, Any]) -> Iterator[Section]:
    rows = [
        Row(
            (
                cost["stage"].replace("_", " "),
                whole(cost["trajectories"]),
                whole(cost["generated_tokens"]),
                whole(cost["discarded_tokens"]),
                percent(cost["cached_tokens"] / cost["prompt_tokens"]) if cost["prompt_tokens"] else DASH,
                whole(cost["sandbox_calls"]),
                DASH if cost["seconds"] is None else duration(cost["seconds"]),
            )
        )
        for cost in report["costs"]
    ]
    if rows:
        headings = (
            "stage",
            "trajectories",
            "sampled tokens",
            "cut away",
            "prompt cached",
            "sandbox calls",
            "wall time",
        )
        yield Section("What it cost", (Table(headings, tuple(rows)),))
