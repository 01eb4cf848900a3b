"""The whole loop in lock step against rollouts that run ahead of the learner, side by side.

    python benches/loop_speed.py [--policy runs/smoke/checkpoints/cold_start] [--rounds 8] [--repeats 1] [--json FILE]

All rows run `hierarchical_rl` itself with the smoke's recipe: real engine, sandbox, grader and learner, from the same
weights each time. What is simulated is how long the learner takes for a round's log-probs and updates: they are computed,
and then the learner sleeps until `--learner-seconds` have passed since they began, as if it had machines of its own. By
default that is what sampling a round takes, where there is most to be gained: two things of equal length one after the
other, or at once. Publishing weights, choosing groups and recording them take the time that they take.

`sync` is `max_staleness: 0`, `async` lets engines run `--staleness` versions ahead, `cut tail` leaves them idle while
the learner works, but begins half as many problems again as a round needs and suspends what is not finished in time.
A round whose groups all have rewards without variance makes no update, and so has no learner's time: take enough groups.
Rounds per hour are of all rounds but the first, which fills the stream. Rewards are compared round by round: what runs ahead
was sampled by weights that are older. What was learnt in the end is compared on held-out problems, which takes no part in the
time. Without `--policy` TIRGen and the cold start of the smoke come first, which takes minutes.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from actors.placement import RayCluster
from learners.group import LearnerGroup
from thor_ray.config import Recipe, load_recipe
from thor_ray.metrics import CORRECT
from thor_ray.progress import Progress
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.evaluate import evaluate
from thor_ray.stages.hierarchical_rl import hierarchical_rl
from thor_ray.stages.pipeline import Pipeline
from thor_ray.stages.plan import Plan, make_plan
from thor_ray.stages.workers import Workers, started_workers
from thor_ray.trajectory import Group

CALIBRATION_ROUNDS = 3
"""Synchronous rounds that say how long sampling takes; the first of them warms everything up."""


class PacedLearners:
    """A learner whose work on a round lasts as long as is asked for, unless it lasts longer anyway.

    Args:
        learners: Do the work.
        seconds: Of a round, from its log-probs to the end of its last update.
        updates: Of a round, each of which ends an equal share of the time later.
    """

    def __init__(self, learners: LearnerGroup, seconds: float, updates: int) -> None:
        self._learners, self._share = learners, seconds / updates
        self._due = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learners, name)

    def with_proximal_log_probs(self, sequences: Sequence[Any]) -> list[Any]:
        """Begins a round."""
        self._due = time.monotonic()
        return self._learners.with_proximal_log_probs(sequences)

    def update(self, sequences: Sequence[Any]) -> dict[str, float]:
        """Learns, and sleeps for what is left of the time until now."""
        self._due += self._share
        metrics = self._learners.update(sequences)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return metrics


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one mode, over all its rounds but the first.

    Attributes:
        rounds_per_hour: Wall time, evaluation left out.
        rewards: Mean of each round's episodes, which older weights may have sampled.
        held_out: What the policy has learnt in the end: the share of right answers to each held-out problem.
        learner_idle: Mean share of a round in which the learner waited for groups.
        engines_idle: Mean share of a round in which an engine had nothing to sample.
        worst_staleness: Of any group.
    """

    mode: str
    rounds_per_hour: float
    rewards: tuple[float, ...]
    held_out: tuple[float, ...]
    learner_idle: float
    engines_idle: float
    worst_staleness: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a cold-started policy of the smoke's shape")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1, help="of all modes, in turn")
    parser.add_argument("--groups", type=int, default=16, help="problems of a round")
    parser.add_argument("--staleness", type=int, default=2)
    parser.add_argument("--learner-seconds", type=float, help="of a round; default: as long as sampling it takes")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    plain = [f"rl.rounds={options.rounds}", f"rl.groups_per_round={options.groups}", "rl.evaluate_every=0"]
    ahead = f"rl.stream.max_staleness={options.staleness}"
    modes = {
        "sync": plain,
        "async": [*plain, ahead],
        "cut tail": [*plain, ahead, "rl.stream.over_sample=1.5"],
    }
    recipes = {mode: load_recipe("smoke", overrides) for mode, overrides in modes.items()}
    with tempfile.TemporaryDirectory(prefix="loop-", dir="/tmp") as scratch:
        bench = Bench(recipes["sync"], Path(scratch), options.policy)
        with RayCluster(cpus=2), started_workers(bench.plan.recipe, bench.plan.model) as workers:
            rows = bench.measure(workers, recipes, options.learner_seconds, options.repeats)
    compare(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Trained:
    """One run.

    Attributes:
        ends: When each round was done, in seconds.
        metrics: Of each round.
    """

    ends: list[float]
    metrics: list[Mapping[str, Any]]


class Bench:
    """One pair of engine and learner, which all modes get in the same state.

    Args:
        recipe: Of synchronous rounds.
        scratch: For runs and checkpoints.
        policy: Where the rounds begin; ``None`` makes one.
    """

    def __init__(self, recipe: Recipe, scratch: Path, policy: Path | None) -> None:
        self._scratch, self._runs = scratch, 0
        self._makes_policy = policy is None
        if policy is not None:
            recipe = recipe.model_copy(update={"policy": recipe.policy.model_copy(update={"model": str(policy)})})
        self.plan: Plan = make_plan(recipe, (Stage.TIRGEN, Stage.COLD_START) if self._makes_policy else (Stage.RL,))

    def measure(
        self, workers: Workers, recipes: Mapping[str, Recipe], learner_seconds: float | None, repeats: int
    ) -> list[Row]:
        """Runs all modes in turn; rows of the same mode are repetitions."""
        sync, learners = recipes["sync"], workers.learners
        if self._makes_policy:
            with self._log(sync) as log, Progress(Console()) as progress:
                Pipeline(sync, self.plan.problems, workers, log, progress).run(self.plan.stages)
        learners.begin_rl(sync.rl.objective, sync.rl.optimizer, 1)
        learners.save(self._scratch / "beginning")
        if learner_seconds is None:
            few = sync.model_copy(update={"rl": sync.rl.model_copy(update={"rounds": CALIBRATION_ROUNDS})})
            metrics = self._train(workers, few, 0.0).metrics
            learner_seconds = statistics.median(each["sampling_seconds"] for each in metrics[1:])
        print(f"a round's log-probs and updates are made to last {learner_seconds:.1f} s")
        rows = []
        for _ in range(repeats):
            for mode, recipe in recipes.items():
                self._go_back(workers)
                trained = self._train(workers, recipe, learner_seconds)
                rows.append(shown(row(mode, trained, self._held_out(workers, recipe))))
        return rows

    def _go_back(self, workers: Workers) -> None:
        """Puts the weights back, on both sides."""
        recipe = self.plan.recipe
        workers.learners.begin_rl(recipe.rl.objective, recipe.rl.optimizer, 1)
        workers.learners.load(self._scratch / "beginning")
        workers.learners.publish(workers.fleet.actors)

    def _train(self, workers: Workers, recipe: Recipe, learner_seconds: float) -> Trained:
        """All rounds."""
        paced = PacedLearners(workers.learners, learner_seconds, recipe.rl.updates_per_round)
        trained = Trained([], [])

        def on_round(done: int, figures: Mapping[str, Any]) -> None:
            trained.ends.append(time.monotonic())
            trained.metrics.append(figures)

        with self._log(recipe) as log, log.stage(Stage.RL):
            slow = replace(workers, _learners=cast("LearnerGroup", paced))
            hierarchical_rl(slow, self.plan.problems, recipe, log, on_round)
        return trained

    def _held_out(self, workers: Workers, recipe: Recipe) -> tuple[float, ...]:
        """How often each held-out problem is answered rightly by the weights as they are now."""
        right: dict[str, float] = {}

        def on_group(group: Group) -> None:
            right[group.problem_id] = statistics.fmean(each.grade_status == CORRECT for each in group.trajectories)

        with self._log(recipe) as log, log.stage(Stage.EVALUATE_RL):
            evaluate(workers, self.plan.problems.heldout, recipe, log, Stage.EVALUATE_RL, on_group=on_group)
        return tuple(right[problem.id] for problem in self.plan.problems.heldout)

    def _log(self, recipe: Recipe) -> RunLog:
        self._runs += 1
        log = RunLog.create(self._scratch / f"run-{self._runs}", recipe, "bench")
        log.keep_tokenizer(self.plan.model)
        return log


def row(mode: str, trained: Trained, held_out: tuple[float, ...]) -> Row:
    """The figures of one run."""
    ends, metrics = trained.ends, trained.metrics
    later = metrics[1:]
    return Row(
        mode=mode,
        rounds_per_hour=3600 * len(later) / (ends[-1] - ends[0]),
        rewards=tuple(float(each["reward"]) for each in metrics),
        held_out=held_out,
        learner_idle=statistics.fmean(each["idle/learner"] for each in later),
        engines_idle=statistics.fmean(each["idle/engines"] for each in later),
        worst_staleness=max(int(each.get("staleness_worst", 0)) for each in metrics),
    )


def shown(found: Row) -> Row:
    """Prints a row as soon as there is one."""
    print(
        f"{found.mode:10} {found.rounds_per_hour:8.1f} rounds/h, idle: learner {found.learner_idle:.0%}, "
        f"engine {found.engines_idle:.0%}; reward {statistics.fmean(found.rewards):.3f}, "
        f"held out {statistics.fmean(found.held_out):.3f}, worst staleness {found.worst_staleness}",
        flush=True,
    )
    return found


def compare(rows: Sequence[Row]) -> None:
    """Prints the other modes as ratios of the synchronous one; medians, and differences round by round, problem by problem."""
    by_mode: dict[str, list[Row]] = {}
    for found in rows:
        by_mode.setdefault(found.mode, []).append(found)
    sync = by_mode["sync"]
    for mode, others in by_mode.items():
        if mode == "sync":
            continue
        faster = statistics.median(o.rounds_per_hour for o in others) / statistics.median(
            s.rounds_per_hour for s in sync
        )
        reward = difference([one.rewards for one in sync], [other.rewards for other in others])
        held_out = difference([one.held_out for one in sync], [other.held_out for other in others])
        print(f"{mode} makes {faster:.2f} x the rounds; reward {reward}; held out {held_out}")


def difference(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> str:
    """Mean of paired differences, with two standard errors: of rounds or problems, not of runs."""
    gains = [a - b for one, other in zip(before, after, strict=True) for b, a in zip(one, other, strict=True)]
    return f"{statistics.fmean(gains):+.3f} ± {2 * statistics.stdev(gains) / math.sqrt(len(gains)):.3f}"


if __name__ == "__main__":
    main()
