"""Finished runs of a small study: all but those of episodes alone and without tools, of one seed."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.runs import FAILED, GOLD, OK, TOKENIZER, evaluation, trajectory, write_rl_round
from thor_ray.config import Recipe
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.study.design import COLD_START, COLD_START_REPAIRS, HIERARCHICAL_RL, KNOBS, RL_REPAIRS, UNREFINED
from thor_ray.study.results import run_place

PROBLEMS = 8
SAMPLES = 2


def write_study_runs(place: Path, seed: int, knobs: Sequence[str] = ()) -> None:
    """Writes the runs of one seed."""
    own = (COLD_START, HIERARCHICAL_RL, UNREFINED, *(run for run, _ in (*COLD_START_REPAIRS, *RL_REPAIRS)))
    for run in (*own, *(run for knob in knobs for run in KNOBS[knob])):
        path = run_place(place, seed, run.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        TOKENIZER.save(str(path.parent / "tokenizer.json"))
        with RunLog.create(path, Recipe(name=run.name, seed=seed), "study") as log:
            log.keep_tokenizer(path.parent)
            for stage in run.stages:
                if stage in RIGHT:
                    _evaluate(log, stage, RIGHT[stage])
                elif stage is Stage.RL:
                    with log.stage(stage):
                        for number in range(3):
                            write_rl_round(log, number)


RIGHT = {
    Stage.EVALUATE_BASE: 0,
    Stage.EVALUATE_COLD_START: 2,
    Stage.EVALUATE_COLD_START_SELF_CORRECTION: 4,
    Stage.EVALUATE_RL: 6,
    Stage.EVALUATE_RL_SELF_CORRECTION: 8,
}
"""Right answers, of as many problems."""


def _evaluate(log: RunLog, stage: Stage, right: int) -> None:
    with log.stage(stage):
        samples = [
            trajectory(
                f"{stage}/{number}/{sample}",
                f"gcd-{number}",
                () if stage is Stage.EVALUATE_BASE else (OK if number < right else FAILED,),
                "36" if number < right else "18",
            )
            for number in range(PROBLEMS)
            for sample in range(SAMPLES)
        ]
        log.record_groups(evaluation(stage, samples), stage, 0, gold_answers=GOLD)
