"""The registry of metrics for people and for Grafana: docs/metrics.md and the board in deploy/grafana are made here."""

from collections.abc import Iterator
from typing import Any, Final

from thor_ray.metrics_registry import REGISTRY, Metric, Scope, Shape

PREFIX: Final = "thor_"
"""Of our metrics in Prometheus; Ray puts ``ray_`` before it."""

_STAGES: Final = {
    Scope.ROUND: "Stage `rl`, one line a round. `learner/…` are means over the updates of the round.",
    Scope.PUBLICATION: "Stages `cold_start` and `rl`, one line whenever the engines get new weights.",
    Scope.UPDATE: "Stage `cold_start`, one line an update of the optimizer.",
    Scope.EVALUATION: "Stages `evaluate_…`, one line an evaluation.",
    Scope.STREAMED_EVALUATION: "Stage `evaluate`, one line an attempt.",
    Scope.TIRGEN: "Stage `tirgen`, one line.",
}

_INTRODUCTION: Final = """\
# Metrics

Made by `thor config metrics --markdown` from `thor_ray/metrics_registry.py`; a test compares the two. What is recorded
and does not stand here fails the tests.

A run records them in `metrics.jsonl`, one JSON object a line: `time`, `attempt`, `stage`, `round`, and under `metrics`
the figures below. `null` is undefined, such as a share of nothing, or was not finite.
"""

_SINKS: Final = """\
## Other tools

    tracking:
      sinks: [tensorboard, wandb, ray]

* `tensorboard`: event files in the run's `tensorboard/`, a TensorBoard run for each stage; `pip install tensorboard`, then
  `tensorboard --logdir runs/NAME/tensorboard`. Rounds that a resumed run does again replace their first attempt.
* `wandb`: offline below the run's `wandb/` unless `WANDB_API_KEY` or `WANDB_MODE` is set; `wandb sync` uploads it later.
  One wandb run a run directory, which a resumed run goes on with. `wandb_rollouts` trajectories of each round stand in
  a table.
* `ray`: gauges `ray_thor_STAGE_NAME` with the tag `run`, at the address where Ray exports its metrics
  (`metrics_export_port`). `deploy/grafana/thor.json` is a board for Grafana over them; put it where Grafana looks for
  dashboards, for Ray's own Grafana `/tmp/ray/session_latest/metrics/grafana/dashboards/`.

A missing package is an error before the run starts. A tool that fails while the run goes on is named in the log and left alone.
"""


def registry_objects() -> list[dict[str, Any]]:
    """The registry as plain JSON values, one object a metric."""
    return [
        {
            "scope": str(scope),
            "name": metric.name,
            "names": list(metric.names),
            "unit": str(metric.unit),
            "shape": str(metric.shape),
            "meaning": metric.meaning,
        }
        for scope, metrics in REGISTRY.items()
        for metric in metrics
    ]


def registry_markdown() -> str:
    """docs/metrics.md."""
    sections = [_INTRODUCTION]
    for scope, metrics in REGISTRY.items():
        rows = [f"| {' | '.join(_row(metric))} |" for metric in metrics]
        title = str(scope).partition(" ")[2]
        title = title[0].upper() + title[1:]
        sections.append(
            "\n".join([f"## {title}", "", _STAGES[scope], "", "| name | unit | meaning |", "|---|---|---|", *rows, ""])
        )
    return "\n".join([*sections, _SINKS])


def _row(metric: Metric) -> tuple[str, str, str]:
    variants = f" One of each: {', '.join(f'`{variant}`' for variant in metric.variants)}." if metric.variants else ""
    unit = str(metric.unit) if metric.shape is Shape.NUMBER else f"{metric.unit}; `{metric.shape}`"
    return f"`{metric.name}`", unit, metric.meaning + variants


def prometheus_name(stage: str, name: str) -> str:
    """The name of a figure in Prometheus, without the ``ray_`` that Ray puts before it."""
    return PREFIX + "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in f"{stage}_{name}")


_PANELS: Final = (
    ("Reward", "rl", ("reward", "correct", "step_reward")),
    (
        "Accuracy on held-out problems",
        "evaluate_during_rl",
        ("pass_at_1", "pass_at_1_interval/low", "pass_at_1_interval/high"),
    ),
    ("Tool calls", "rl", ("code_ratio", "failing_share", "void_turns")),
    ("How programs end", "rl", "code/<status>"),
    ("Grades", "rl", "grade/<status>"),
    ("How trajectories end", "rl", "finish/<reason>"),
    ("Trajectories that filters rejected", "rl", "rejected/<reason>"),
    ("Groups dropped", "rl", "dropped/<reason>"),
    ("Throughput", "rl", ("tokens_per_second", "learner/tokens_per_second")),
    ("Seconds of an episode", "rl", "seconds/<where>"),
    ("Loss", "rl", ("learner/loss",)),
    ("Gradient norm", "rl", ("learner/grad_norm",)),
    ("Mismatch of engine and learner", "rl", ("learner/mismatch_kl", "weights/logprob_gap")),
    ("Clipping", "rl", ("learner/clip_fraction", "learner/dual_clip_fraction")),
    ("Effective samples", "rl", ("learner/effective_samples",)),
    ("Weight version", "rl", ("weights/version",)),
    ("Cold start: loss", "cold_start", ("loss",)),
)
"""Title, stage and figures of each panel, those of a family by its name."""


def grafana_board() -> dict[str, Any]:
    """The board in deploy/grafana, for Grafana 9 and newer: one panel for figures that belong together."""
    return {
        "uid": "thor-ray",
        "title": "THOR-Ray",
        "schemaVersion": 38,
        "tags": ["thor-ray"],
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "10s",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "run",
                    "label": "run",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": 'label_values({__name__=~"ray_thor_.*"}, run)',
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                },
            ]
        },
        "panels": list(_panels()),
    }


_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def _panels() -> Iterator[dict[str, Any]]:
    families = {metric.name: metric.names for metrics in REGISTRY.values() for metric in metrics}
    for number, (title, stage, wanted) in enumerate(_PANELS):
        names = families[wanted] if isinstance(wanted, str) else wanted
        yield {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": _SOURCE,
            "gridPos": {"h": 8, "w": 8, "x": 8 * (number % 3), "y": 8 * (number // 3)},
            "targets": [
                {
                    "refId": chr(ord("A") + position),
                    "datasource": _SOURCE,
                    "expr": f'ray_{prometheus_name(stage, name)}{{run=~"$run"}}',
                    "legendFormat": f"{name} {{{{run}}}}",
                }
                for position, name in enumerate(names)
            ],
        }
