"""What a run has measured: how long its trajectories were and waited, and how fast its engines and learners were."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from thor_ray.errors import UserError
from thor_ray.planning.lengths import Lengths, Trajectory
from thor_ray.planning.rates import Rates
from thor_ray.records import Stage, read_columns
from thor_ray.run_directory import RunDirectory

LEAST_ROUNDS: Final = 2
"""That a run must have finished: the first is timed by nobody, as it begins with the stage."""

EPISODE: Final = "episode"


@dataclass(frozen=True, slots=True)
class MeasuredRound:
    """One round of hierarchical RL.

    Attributes:
        index: Which.
        seconds: From the end of the round before to its own.
        sampling_seconds: In which its groups were sampled.
        learner_seconds: Of its updates.
        episodes: Sampled tokens, seconds in the engine, seconds of waiting, of each trajectory.
        steps: The same of step-level continuations.
    """

    index: int
    seconds: float
    sampling_seconds: float
    learner_seconds: float
    episodes: tuple[tuple[int, float, float], ...]
    steps: tuple[tuple[int, float, float], ...]

    @property
    def tokens(self) -> int:
        """Sampled ones."""
        return sum(tokens for tokens, _, _ in (*self.episodes, *self.steps))


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """Rounds of a run.

    Attributes:
        name: Of the run.
        ranks: Learner ranks that it had.
        rounds: Those that were timed.
    """

    name: str
    ranks: int
    rounds: tuple[MeasuredRound, ...]

    def only(self, indices: Collection[int]) -> "MeasuredRun":
        """The same run, as if it had had these rounds alone."""
        return MeasuredRun(self.name, self.ranks, tuple(each for each in self.rounds if each.index in indices))

    @property
    def typical(self) -> MeasuredRound:
        """The round of median length. A shared machine has moments; in a pool of all rounds the worst would decide."""
        return sorted(self.rounds, key=lambda each: each.seconds)[(len(self.rounds) - 1) // 2]

    def lengths(self) -> Lengths:
        """The trajectories of the typical round, each with what it waited for programs."""
        episodes, steps = (
            tuple(Trajectory(tokens, waited) for tokens, _, waited in part)
            for part in (self.typical.episodes, self.typical.steps)
        )
        return Lengths(episodes, steps, f"round {self.typical.index} of {self.name}, of median length")

    def rates(self) -> Rates:
        """How fast it was: an engine in the typical round, everything else in the median of rounds."""
        trajectories = (*self.typical.episodes, *self.typical.steps)
        rest = median(max(0.0, r.seconds - r.sampling_seconds - r.learner_seconds) for r in self.rounds)
        return Rates(
            weight_seconds=sum(engine for _, engine, _ in trajectories) / self.typical.tokens,
            sequence_seconds=0.0,
            compute_seconds=0.0,
            learner_seconds=self.ranks * median(r.learner_seconds / r.tokens for r in self.rounds),
            publish_seconds=rest,
            tool_seconds=0.0,
            source=f"measured in {len(self.rounds)} rounds of {self.name}, with as many sequences at once as there",
        )

    def to_json(self) -> str:
        """As :func:`measured_from_json` reads it."""
        return json.dumps(asdict(self))


def measured_from_json(text: str) -> MeasuredRun:
    """What ``MeasuredRun.to_json`` wrote."""
    tree = json.loads(text)
    rounds = tuple(
        MeasuredRound(
            **each
            | {part: tuple((int(t), float(e), float(w)) for t, e, w in each[part]) for part in ("episodes", "steps")}
        )
        for each in tree["rounds"]
    )
    return MeasuredRun(tree["name"], tree["ranks"], rounds)


def measured_run(run: RunDirectory) -> MeasuredRun:
    """Reads a run's metrics and records.

    Raises:
        UserError: it has too few rounds of RL, or rounds that ran ahead of the learner, whose times overlap.
    """
    recipe = run.recipe()
    if recipe.rl.stream.max_staleness:
        raise UserError(
            f"{run.path} sampled ahead of its learner, so its times overlap",
            "give a run with rl.stream.max_staleness: 0",
        )
    lines = [line for line in run.metrics() if line.stage == Stage.RL and "sampling_seconds" in line.metrics]
    files = dict(enumerate(run.record_files(Stage.RL)))
    rounds = []
    for before, line in pairwise(lines):
        # Between two attempts a run rested.
        if line.round is not None and line.attempt == before.attempt and line.round in files:
            seconds = (_moment(line.time) - _moment(before.time)).total_seconds()
            rounds.append(_round(line.round, seconds, line.metrics, recipe.rl.updates_per_round, files[line.round]))
    if len(rounds) < LEAST_ROUNDS:
        raise UserError(
            f"{run.path} has {len(rounds)} timed rounds of RL, {LEAST_ROUNDS} are needed",
            "give a run that went further",
        )
    return MeasuredRun(run.path.name, recipe.learner.ranks, tuple(rounds))


def _round(index: int, seconds: float, metrics: Mapping[str, Any], updates: int, records: Path) -> MeasuredRound:
    rows = read_columns([records], ["group_kind", "cost"]).to_pylist()

    def costs(episodes: bool) -> tuple[tuple[int, float, float], ...]:
        chosen: Sequence[Mapping[str, Any]] = [
            row["cost"] for row in rows if (row["group_kind"] == EPISODE) == episodes
        ]
        return tuple(
            (
                max(1, cost["generated_tokens"]),
                cost["llm_seconds"],
                cost["tool_seconds"] + cost["queue_seconds"] + cost["grade_seconds"],
            )
            for cost in chosen
        )

    return MeasuredRound(
        index,
        seconds,
        metrics["sampling_seconds"],
        updates * metrics.get("learner/seconds", 0.0),
        costs(episodes=True),
        costs(episodes=False),
    )


def _moment(time: str) -> datetime:
    return datetime.fromisoformat(time)
