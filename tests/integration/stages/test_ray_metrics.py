"""What a run records can be read where Prometheus reads Ray's metrics."""

import time
import urllib.request

import ray

from thor_ray.config import Recipe
from thor_ray.runlog import RunLog
from thor_ray.stages.ray_metrics import attach_ray_metrics

PATIENCE = 120.0


def exported() -> str:
    port = ray.nodes()[0]["MetricsExportPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


def test_figures_of_a_run_reach_prometheus(ray_cluster, tmp_path):
    recipe = Recipe.model_validate({"tracking": {"sinks": ["ray"]}})
    with RunLog.create(tmp_path / "watched", recipe, "train") as log:
        attach_ray_metrics(log, recipe)
        log.record_metrics("rl", 3, {"reward": 0.625, "grade/no_box": 0.25, "step_reward": None})
    deadline = time.monotonic() + PATIENCE
    while "ray_thor_rl_reward" not in (text := exported()):
        assert time.monotonic() < deadline, text
        time.sleep(0.5)
    ours = [line for line in text.splitlines() if line.startswith("ray_thor_rl_") and 'run="watched"' in line]
    assert {line.partition("{")[0]: float(line.split()[-1]) for line in ours} == {
        "ray_thor_rl_reward": 0.625,
        "ray_thor_rl_grade_no_box": 0.25,
        "ray_thor_rl_round": 3.0,
    }
