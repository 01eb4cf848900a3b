"""What the paper claims of each part, what came out here, and whether that bears the claim out (spec G.2 to G.8, I.4)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from thor_ray.evaluation.figures import BenchmarkFigures
from thor_ray.evaluation.paper import Paper
from thor_ray.study.results import SeedResult, complete
from thor_ray.study.seeds import Change, change

PAPER_MODELS: Final = ("Qwen2.5-Math-7B", "Qwen3-8B")
TRAINED: Final = ("THOR-7B", "THOR-Thinking-8B")
"""What the paper's method makes of `PAPER_MODELS`."""
DEMONSTRATED: Final = (91.7 - 43.6, 88.3 - 81.3)
"""Code ratios after a cold start on TIRGen's data above those after one on another data set (paper, figure 4)."""

Figure = Callable[[BenchmarkFigures], float | None]
"""One figure of an evaluation, or ``None`` where it has none."""
Points = tuple[float | None, float | None]
"""The paper's difference for each of `PAPER_MODELS`, in points; ``None`` where it has none."""


class Verdict(StrEnum):
    """How a measured difference stands to the claim that it is positive."""

    HOLDS = "holds"
    OPEN = "sign as claimed, within noise"
    NOT_SHOWN = "not shown"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True)
class Compared:
    """A claim that one figure is above another.

    Attributes:
        claim: In words.
        paper: What the paper has.
        found: Here, paired by seed.
    """

    claim: str
    paper: Points
    found: Change

    @property
    def verdict(self) -> Verdict:
        """Decided where the 95 % interval leaves out nought, which takes two seeds."""
        mean, low, high = self.found.difference.mean, self.found.difference.low, self.found.difference.high
        if low is not None and low > 0:
            return Verdict.HOLDS
        if high is not None and high < 0:
            return Verdict.REVERSED
        return Verdict.OPEN if mean > 0 else Verdict.NOT_SHOWN


def compared_claims(results: Sequence[SeedResult], paper: Paper) -> list[Compared]:
    """Every claim that the results of at least one seed speak to.

    Args:
        results: By seed.
        paper: To put beside ours.
    """
    candidates = [
        *_accuracy(results, paper),
        ("T5's programs run more often than T4's", (None, None), paired(results, "T4", "T5", pass_ratio)),
        (
            "with self-correction T6's run more often still",
            _paper_points(paper, "execution", TRAINED, "{}", "{} + self-correction", "pass_rate_percent"),
            paired(results, "T5", "T6", pass_ratio),
        ),
        (
            "TIRGen's demonstrations make the policy call its tool more often than plain solutions (code ratio)",
            DEMONSTRATED,
            paired(results, "T3u", "T3", code_ratio),
        ),
        *(
            # The paper does not say which of its models these samples are of.
            (
                f"{label}: answers are right more often where all programs ran (paper: {_told(paper):+.1f}, model not stated)",
                (None, None),
                _tells(results, label),
            )
            for label in ("T3", "T4", "T5")
        ),
        *_repairs(results, paper),
        *_selection(results, paper),
    ]
    return [Compared(claim, points, found) for claim, points, found in candidates if found is not None]


def accuracy(figures: BenchmarkFigures) -> float:
    """avg@k."""
    return figures.accuracy.value


def pass_ratio(figures: BenchmarkFigures) -> float | None:
    """Share of executed blocks that ran."""
    return None if figures.code is None or figures.code.pass_rate is None else figures.code.pass_rate.value


def code_ratio(figures: BenchmarkFigures) -> float | None:
    """Share of samples with any block."""
    return None if figures.code is None else figures.code.code_ratio.value


def paired(results: Sequence[SeedResult], before: str, after: str, figure: Figure = accuracy) -> Change | None:
    """How much a row's figure is above another row's, over the seeds that have both; ``None`` without any."""
    found = [(figure(one.rows[before]), figure(one.rows[after])) for one in complete(results, (before, after))]
    pairs = [(first, second) for first, second in found if first is not None and second is not None]
    return change([first for first, _ in pairs], [second for _, second in pairs]) if pairs else None


_Candidate = tuple[str, Points, Change | None]


def _accuracy(results: Sequence[SeedResult], paper: Paper) -> Iterator[_Candidate]:
    names = {row.label.partition(" ")[0]: row.label for row in paper.tables["ablation"].rows}
    steps = {
        ("T1", "T2"): "RL on answers alone, without a tool",
        ("T1", "T3"): "code and the cold start",
        ("T3", "T4"): "episode-level RL",
        ("T4", "T5"): "step-level RL",
        ("T5", "T6"): "self-correction",
    }
    for (before, after), part in steps.items():
        points = _paper_points(paper, "ablation", PAPER_MODELS, names[before], names[after])
        yield f"{after} above {before}: {part} adds accuracy", points, paired(results, before, after)


def _repairs(results: Sequence[SeedResult], paper: Paper) -> Iterator[_Candidate]:
    for base, suffix in (("T3", "T3c"), ("T5", "T6")):
        for strategy in ("action_only", "full_replan"):
            words = strategy.replace("_", " ")
            points = _paper_points(paper, "repair", TRAINED, strategy, "step_suffix")
            yield f"{base}: repair by step suffix beats {words}", points, paired(results, f"{base} {strategy}", suffix)


def _selection(results: Sequence[SeedResult], paper: Paper) -> Iterator[_Candidate]:
    for method in ("self_consistency", "self_rewarded"):
        label = method.replace("_", "-")
        pairs = [
            (accuracy(row), chosen.accuracy.value)
            for result in results
            if (row := result.rows.get("T5")) is not None
            for chosen in row.selection
            if chosen.method == method
        ]
        found = change([mean for mean, _ in pairs], [best for _, best in pairs]) if pairs else None
        points = _paper_points(paper, "selection", TRAINED, "no selection", label)
        yield f"T5: {label} selection beats the mean candidate", points, found


def _tells(results: Sequence[SeedResult], label: str) -> Change | None:
    """Accuracy of samples whose blocks all ran above that of samples with a failed one."""
    tables = [row.tool_success for one in results if (row := one.rows.get(label)) is not None]
    shares = [(table.accuracy_failed, table.accuracy_passed) for table in tables if table is not None]
    split = [(failed, passed) for failed, passed in shares if failed is not None and passed is not None]
    return change([failed for failed, _ in split], [passed for _, passed in split]) if split else None


def _told(paper: Paper) -> float:
    (row,) = paper.tables["tool_success"].rows
    right_passed, right_failed, wrong_passed, wrong_failed = (value or 0.0 for value in row.values)
    passed, failed = right_passed + wrong_passed, right_failed + wrong_failed
    return 100 * (right_passed / passed - right_failed / failed)


def _paper_points(
    paper: Paper, table: str, groups: Sequence[str], before: str, after: str, column: str = "average"
) -> Points:
    """Differences between two rows of a table, by group of rows. In labels ``{}`` stands for the group."""

    def value(group: str, label: str) -> float | None:
        of_group = [row for row in paper.tables[table].rows if group in (row.group, row.label.partition(" ")[0])]
        (row,) = [row for row in of_group if row.label == label.format(group)]
        return paper.tables[table].values(row, [column])[0]

    pairs = [(value(group, before), value(group, after)) for group in groups]
    first, second = (None if low is None or high is None else high - low for low, high in pairs)
    return first, second
