"""Prints the tables of docs/smoke.md from finished runs: `python benches/smoke/table.py runs/smoke-0 runs/smoke-1 ...`."""

import json
import sys
from pathlib import Path
from typing import Any

STAGES = {"base": "base", "cold_start": "cold start", "rl": "RL", "rl_self_correction": "RL + self-correction"}


def percent(share: float | None) -> str:
    """One decimal, a dash where undefined."""
    return "–" if share is None else f"{100 * share:.1f}"


def table(reports: list[dict[str, Any]]) -> str:
    """One row per seed and stage, in Markdown."""
    rows = [
        "| seed | stage | pass@1 (95 %) | code ratio | failing blocks | tokens kept + cut |",
        "|---|---|---|---|---|---|",
    ]
    for report in reports:
        for key, name in STAGES.items():
            stage = report["stages"][key]
            low, high = stage["pass_at_1_interval"]
            passed = stage["code_pass_rate"]
            rows.append(
                f"| {report['seed']} | {name} | {percent(stage['pass_at_1'])} ({percent(low)}–{percent(high)}) "
                f"| {percent(stage['code_ratio'])} | {percent(None if passed is None else 1 - passed)} "
                f"| {stage['kept_tokens']:.0f} + {stage['discarded_tokens']:.0f} |"
            )
    return "\n".join(rows)


def costs(reports: list[dict[str, Any]]) -> str:
    """One row per seed: seconds by stage, and what became of the trajectories."""
    rows = [
        "| seed | TIRGen s | cold start s | RL s | four evaluations s | weights verified | largest log-prob gap |",
        "|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        seconds, weights = report["seconds"], report["weights"]
        evaluations = sum(value for name, value in seconds.items() if name.startswith("evaluate"))
        rows.append(
            f"| {report['seed']} | {seconds['tirgen']:.0f} | {seconds['cold_start']:.0f} | {seconds['rl']:.0f} "
            f"| {evaluations:.0f} | {weights['verified']} of {weights['published']} "
            f"| {weights['max_logprob_gap']:.1e} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    found = [json.loads((Path(run) / "report.json").read_text()) for run in sys.argv[1:]]
    print(table(found), costs(found), sep="\n\n")
