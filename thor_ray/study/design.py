"""Which runs the study consists of, and which rows of the paper's table 3 are read off them (spec G.3).

Every seed is five training runs, and evaluations that repair failures in other ways. Each begins with the recipe's policy or
with what another run has learnt, so that the rows which differ in their RL alone have the same cold start. The RL runs have the same budget of sampled tokens,
``rl.token_budget``: step-level branches count as well, so that they have to be worth what they cost.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from thor_ray.config import RepairStrategy
from thor_ray.records import Stage


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One run of one seed.

    Attributes:
        name: Of its directory.
        stages: What it does.
        begins_with: The run whose last model it begins with; ``None`` is the recipe's policy.
        overrides: Of the recipe, ``section.field=value``.
        solutions_of: The run whose demonstrations it learns from as they were before the refiner saw them.
    """

    name: str
    stages: tuple[Stage, ...]
    begins_with: str | None = None
    overrides: tuple[str, ...] = ()
    solutions_of: str | None = None

    @property
    def needs(self) -> str | None:
        """The run that has to be finished before."""
        return self.begins_with or self.solutions_of


class Comparison(StrEnum):
    """The tables that rows are made for; any row may stand in others, too."""

    ABLATION = "ablation"
    REPAIR = "repair"
    DEMONSTRATIONS = "demonstrations"


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A policy and a way to use it, judged once per seed.

    Attributes:
        label: As in the paper, or ours.
        title: What it is.
        run: The run that judged it.
        stage: Its evaluation there.
        after: Label of the row that it adds something to; ``None`` for the first.
        in_paper: What the row's label in the paper's table begins with; ``None`` where the paper has no such row.
        comparison: The table that it is made for.
    """

    label: str
    title: str
    run: str
    stage: Stage
    after: str | None = None
    in_paper: str | None = None
    comparison: Comparison = Comparison.ABLATION


_RL: Final = (Stage.RL, Stage.EVALUATE_RL, Stage.EVALUATE_RL_SELF_CORRECTION)
_EPISODES_ALONE: Final = ("rl.step_level=false", "rl.objective.denominator=per_level")
_WITHOUT_TOOLS: Final = ("rl.sampling.max_rounds=0", "evaluation.sampling.max_rounds=0")
REPAIR_SAMPLES: Final = 4
"""Of each problem for rows that only compare ways of repair: nothing is selected among them."""

COLD_START: Final = StudyRun(
    "cold-start",
    (
        Stage.EVALUATE_BASE,
        Stage.TIRGEN,
        Stage.COLD_START,
        Stage.EVALUATE_COLD_START,
        Stage.EVALUATE_COLD_START_SELF_CORRECTION,
    ),
)
TEXT_RL: Final = StudyRun("text-rl", (Stage.RL, Stage.EVALUATE_RL), overrides=(*_EPISODES_ALONE, *_WITHOUT_TOOLS))
EPISODE_RL: Final = StudyRun("episode-rl", _RL, COLD_START.name, _EPISODES_ALONE)
HIERARCHICAL_RL: Final = StudyRun("hierarchical-rl", _RL, COLD_START.name)

UNREFINED: Final = StudyRun("unrefined", (Stage.COLD_START, Stage.EVALUATE_COLD_START), solutions_of=COLD_START.name)


def _repaired(label: str, run: StudyRun, stage: Stage) -> Iterator[tuple[StudyRun, StudyRow]]:
    """A policy whose failures are repaired otherwise than the recipe has it, which is by step suffix."""
    for strategy in (RepairStrategy.ACTION_ONLY, RepairStrategy.FULL_REPLAN):
        name = f"{run.name}-{strategy}"
        row = StudyRow(f"{label} {strategy}", str(strategy), name, stage, label, comparison=Comparison.REPAIR)
        overrides = (f"evaluation.correction.strategy={strategy}", f"evaluation.samples_per_problem={REPAIR_SAMPLES}")
        yield StudyRun(name, (stage,), run.name, overrides), row


COLD_START_REPAIRS: Final = tuple(_repaired("T3", COLD_START, Stage.EVALUATE_COLD_START_SELF_CORRECTION))
RL_REPAIRS: Final = tuple(_repaired("T5", HIERARCHICAL_RL, Stage.EVALUATE_RL_SELF_CORRECTION))

RUNS: Final = (
    COLD_START,
    *(run for run, _ in COLD_START_REPAIRS),
    EPISODE_RL,
    HIERARCHICAL_RL,
    *(run for run, _ in RL_REPAIRS),
    TEXT_RL,
    UNREFINED,
)
"""A run that only judges what another has learnt comes right after it, and takes over its actors."""

_OWN_ROWS: Final = (
    StudyRow("T1", "base", COLD_START.name, Stage.EVALUATE_BASE, in_paper="T1"),
    StudyRow("T2", "RL without tools", TEXT_RL.name, Stage.EVALUATE_RL, "T1", "T2"),
    StudyRow("T3", "code and cold start", COLD_START.name, Stage.EVALUATE_COLD_START, "T1", "T3"),
    StudyRow("T4", "+ episode-level RL", EPISODE_RL.name, Stage.EVALUATE_RL, "T3", "T4"),
    StudyRow("T5", "+ step-level RL", HIERARCHICAL_RL.name, Stage.EVALUATE_RL, "T4", "T5"),
    StudyRow("T6", "+ self-correction", HIERARCHICAL_RL.name, Stage.EVALUATE_RL_SELF_CORRECTION, "T5", "T6"),
    StudyRow(
        "T3c",
        "cold start, with self-correction",
        COLD_START.name,
        Stage.EVALUATE_COLD_START_SELF_CORRECTION,
        "T3",
    ),
    StudyRow("T4c", "episode-level RL, with self-correction", EPISODE_RL.name, Stage.EVALUATE_RL_SELF_CORRECTION, "T4"),
    StudyRow(
        "T3u",
        "cold start on the same solutions, not refined",
        UNREFINED.name,
        Stage.EVALUATE_COLD_START,
        "T1",
        comparison=Comparison.DEMONSTRATIONS,
    ),
    *(row for _, row in (*COLD_START_REPAIRS, *RL_REPAIRS)),
)

_SETTINGS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "suffix": (("rl.suffix_tokens=0",), ("rl.suffix_tokens=4",), ("rl.suffix_tokens=16",)),
    "attempts": (("evaluation.correction.attempts=1",), ("evaluation.correction.attempts=8",)),
    "alpha": (("rl.objective.nll_weight=0",), ("rl.objective.nll_weight=0.01",), ("rl.objective.nll_weight=1",)),
    "weights": (("rl.objective.step_weight=0.5",), ("rl.objective.step_weight=2",)),
    "filters": (("rl.filters.failed_code=true",), ("rl.filters.zero_variance=false",)),
    "aggregation": (("rl.objective.aggregation=sequence_mean",),),
    "denominator": (("rl.objective.denominator=per_level",),),
    "release": (("rl.objective.mixed_batch=true",),),
    "staleness": (
        ("rl.stream.max_staleness=1",),
        ("rl.stream.max_staleness=4",),
        ("rl.stream.max_staleness=4", "rl.objective.off_policy.when=never"),
    ),
}


def _knob_run(name: str, overrides: tuple[str, ...]) -> StudyRun:
    """Another RL or, for settings of inference, another use of what T5 has learnt."""
    if all(setting.startswith("evaluation.") for setting in overrides):
        return StudyRun(name, (Stage.EVALUATE_RL_SELF_CORRECTION,), HIERARCHICAL_RL.name, overrides)
    return StudyRun(name, _RL, COLD_START.name, overrides)


def _knob_rows(run: StudyRun) -> Iterator[StudyRow]:
    settings = (setting.split("=", 1) for setting in run.overrides)
    said = ", ".join(f"{field.rpartition('.')[2]}={value}" for field, value in settings)
    if Stage.EVALUATE_RL in run.stages:
        yield StudyRow(f"K {said}", f"T5 with {said}", run.name, Stage.EVALUATE_RL, "T5")
    yield StudyRow(f"K {said}, c", f"T6 with {said}", run.name, Stage.EVALUATE_RL_SELF_CORRECTION, "T6")


KNOBS: Final[Mapping[str, tuple[StudyRun, ...]]] = {
    name: tuple(_knob_run(f"{name}-{number}", overrides) for number, overrides in enumerate(settings, start=1))
    for name, settings in _SETTINGS.items()
}
"""What the paper never ablates, by name: other settings of the run with both levels, which are run when they are asked for."""

ROWS: Final = (*_OWN_ROWS, *(row for runs in KNOBS.values() for run in runs for row in _knob_rows(run)))
"""In the order of the report, which shows those that are finished, whether or not their knob was asked for again."""


def needed(runs: Iterable[StudyRun], name: str) -> tuple[StudyRun, ...]:
    """A run after all that it needs.

    Raises:
        KeyError: there is no such run.
    """
    by_name = {run.name: run for run in runs}
    chain = [by_name[name]]
    while (before := chain[0].needs) is not None:
        chain.insert(0, by_name[before])
    return tuple(chain)
