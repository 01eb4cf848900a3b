"""The report of a run, rebuilt at any time from what the run has recorded: ``report.json``, ``.md`` and ``.html``."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from thor_ray.alarms import alarms
from thor_ray.claims import learning_claims, weight_claims
from thor_ray.files import write_text_atomically
from thor_ray.metrics import evaluation_statistics
from thor_ray.records import EVALUATIONS, Stage, read_columns, read_records
from thor_ray.report_figures import gains, stage_costs
from thor_ray.run_directory import WEIGHTS_GAP, WEIGHTS_VERIFIED, WEIGHTS_VERSION, MetricsLine, RunDirectory
from thor_ray.run_state import RunState
from thor_ray.trajectory import GroupKind, Tokens, Trajectory

SMOKE: Final = "smoke"
"""The command whose runs make claims about learning; a quick smoke is another command."""


def write_report(directory: RunDirectory) -> dict[str, Any]:
    """Builds the report and writes its three files.

    Returns:
        The contents of ``report.json``.

    Raises:
        RecordFormatError: the run was recorded by another version.
        DiskFullError: no room.
    """
    from thor_ray.report_markdown import report_markdown
    from thor_ray.report_page import render_page, sample_views

    report, samples = build_report(directory), sample_views(directory)
    recipe = yaml.safe_dump(directory.recipe().model_dump(mode="json"), sort_keys=False)
    write_text_atomically(directory.report_json, json.dumps(report, indent=2, allow_nan=False) + "\n")
    write_text_atomically(directory.report_markdown, report_markdown(report, samples, recipe))
    write_text_atomically(directory.report_html, render_page(report, samples, recipe))
    return report


def build_report(directory: RunDirectory) -> dict[str, Any]:
    """Everything that ``report.json`` holds.

    Returns:
        ``stages`` (an ``EvaluationStatistics`` by evaluated policy, of its latest round), ``gains`` (of each policy over the one
        before, `Gain`), ``costs`` (by stage, `StageCost`), ``rl_curve`` (the metrics of each round), ``seconds`` (by stage, and their ``total``), ``weights``, ``trajectories``, ``claims``, ``alarms``, ``seed``,
        ``versions``, and whence: ``run``, ``command``, ``status``, ``commit``, ``machine``, ``attempts``.

    Raises:
        RecordFormatError: the run was recorded by another version.
    """
    state, environment, metrics = directory.state(), directory.environment(), directory.metrics()
    stages = {
        name: evaluation_figures(latest)
        for stage, name in EVALUATIONS.items()
        if (latest := directory.record_files(stage)[-1:])
    }
    weights = weight_figures(metrics)
    claims = learning_claims(stages) if state.command == SMOKE else []
    if weights["published"] or state.command == SMOKE:
        claims += weight_claims(weights)
    return {
        "run": directory.name,
        "command": state.command,
        "status": str(state.seen_status),
        "seed": directory.recipe().seed,
        "stages": stages,
        "gains": gains(directory, EVALUATIONS.items()),
        "costs": stage_costs(directory, state),
        "rl_curve": rl_curve(directory, metrics),
        "seconds": stage_seconds(state),
        "weights": weights,
        "trajectories": trajectory_counts(directory),
        "claims": [claim.to_json() for claim in claims],
        "alarms": [asdict(alarm) | {"sentence": alarm.sentence} for alarm in alarms(metrics)],
        "versions": environment.get("versions", {}),
        "commit": environment.get("commit"),
        "machine": environment.get("machine", {}),
        "attempts": state.attempt,
    }


def evaluation_figures(paths: Iterable[Path]) -> dict[str, Any]:
    """The figures of the evaluation that these files hold, as JSON values."""
    return evaluation_statistics([_without_tokens(record.trajectory) for record in read_records(paths)]).to_json()


def rl_curve(directory: RunDirectory, metrics: Sequence[MetricsLine]) -> list[dict[str, Any]]:
    """What each RL round measured, with the evaluations that were made between rounds."""
    curve: dict[int, dict[str, Any]] = {}
    for line in metrics:
        if line.stage == Stage.RL and line.round is not None:
            curve.setdefault(line.round, {"round": line.round}).update(line.metrics)
    for path in directory.record_files(Stage.EVALUATE_DURING_RL):
        number = int(path.stem.rpartition("-")[2])
        figures = evaluation_figures([path])
        chosen = {name: figures[name] for name in ("pass_at_1", "pass_at_1_interval", "code_pass_rate")}
        curve.setdefault(number, {"round": number}).update(chosen)
    return [curve[number] for number in sorted(curve)]


def weight_figures(metrics: Iterable[MetricsLine]) -> dict[str, Any]:
    """How often weights were published, how often verified, and the largest log-prob gap seen, in nats."""
    lines = [line.metrics for line in metrics if WEIGHTS_VERSION in line.metrics]
    gaps = [line[WEIGHTS_GAP] for line in lines]
    return {
        "published": len(lines),
        "verified": sum(line[WEIGHTS_VERIFIED] for line in lines),
        # A gap that is not finite was recorded as null, and must not vanish behind the finite ones.
        "max_logprob_gap": None if not gaps or None in gaps else max(gaps),
    }


def trajectory_counts(directory: RunDirectory) -> dict[str, Any]:
    """RL trajectories by level, and those that did not train by reason (their group's, or else their own)."""
    columns = ["group_kind", "group_dropped", "excluded"]
    rows = read_columns(directory.record_files(Stage.RL), columns).to_pylist()
    kinds = Counter(row["group_kind"] for row in rows)
    reasons = Counter(row["group_dropped"] or row["excluded"] for row in rows)
    del reasons[None]
    return {**{str(kind): kinds[kind] for kind in GroupKind}, "dropped": dict(sorted(reasons.items()))}


def stage_seconds(state: RunState) -> dict[str, float]:
    """How long each finished stage took, and all of them together."""
    seconds = {name: stage.seconds for name, stage in state.stages.items() if stage.seconds is not None}
    return {**seconds, "total": round(sum(seconds.values()), 3)}


def sample_rows(directory: RunDirectory, count: int = 10) -> list[tuple[Path, Mapping[str, Any]]]:
    """Trajectories worth reading, with the file that each is in: one of each kind first, then whatever there is.

    The choice depends on the records alone, so a report that is rebuilt shows the same ones.
    """
    pool = [
        (path, row)
        for stage in (*EVALUATIONS, Stage.RL, Stage.TIRGEN)
        for path in directory.record_files(stage)[-1:]
        for row in read_columns([path]).to_pylist()
    ]
    chosen: list[tuple[Path, Mapping[str, Any]]] = []
    problems: set[str] = set()

    def take(entry: tuple[Path, Mapping[str, Any]]) -> None:
        chosen.append(entry)
        problems.add(entry[1]["problem_id"])

    for stage, correct, failed, corrected in _KINDS:
        fitting = (
            entry
            for entry in pool
            if entry[1]["stage"] == stage
            and (entry[1]["grade_status"] == "correct") is correct
            and (entry[1]["failed_calls"] > 0) is failed
            and (entry[1]["discarded_attempts"] > 0) is corrected
            and entry[1]["problem_id"] not in problems
        )
        if (first := next(fitting, None)) is not None:
            take(first)
    branch = next((entry for entry in pool if entry[1]["group_kind"] == GroupKind.STEP and entry[1]["calls"]), None)
    if branch is not None:
        take(branch)
    taken = {row["trajectory_id"] for _, row in chosen}
    rest = [entry for entry in pool if entry[1]["trajectory_id"] not in taken]
    return (chosen + rest)[:count]


_KINDS: Final = (
    (Stage.EVALUATE_BASE, False, False, False),
    (Stage.EVALUATE_COLD_START, True, False, False),
    (Stage.EVALUATE_COLD_START, True, True, False),
    (Stage.EVALUATE_COLD_START, False, True, False),
    (Stage.EVALUATE_RL, True, False, False),
    (Stage.EVALUATE_RL, False, False, False),
    (Stage.EVALUATE_RL, False, True, False),
    (Stage.EVALUATE_RL_SELF_CORRECTION, True, False, True),
    (Stage.EVALUATE_RL_SELF_CORRECTION, False, False, True),
)
"""(stage, correct, with failing code, self-corrected) of the samples to show."""


def _without_tokens(trajectory: Trajectory) -> Trajectory:
    """The same without its ids, which no statistic reads and which are most of its size."""
    return replace(trajectory, tokens=Tokens((), np.empty(0, np.float32), np.empty(0, np.int32)))
