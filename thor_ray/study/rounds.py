"""What the step level does to learning, round by round: rows T4 and T5 are compared at equal tokens, these figures at equal rounds."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from thor_ray.evaluation.sections import DASH, Row, Section, Table, whole
from thor_ray.study.cells import change_cells
from thor_ray.study.design import EPISODE_RL, HIERARCHICAL_RL
from thor_ray.study.results import CurvePoint, SeedResult
from thor_ray.study.seeds import change

Curve = Sequence[CurvePoint]


def rounds_section(results: Sequence[SeedResult]) -> Iterator[Section]:
    """Reward and failing code of both RL runs in each half of the rounds that both have made, in every seed.

    The first round is left out: both sample it from the cold start, with the same seeds.

    Args:
        results: By seed; those without one of the runs do not count.
    """
    runs = (EPISODE_RL.name, HIERARCHICAL_RL.name)
    pairs = [(one.curves[runs[0]], one.curves[runs[1]]) for one in results if set(runs) <= set(one.curves)]
    common = min((len(curve) for pair in pairs for curve in pair), default=0)
    if common < 3:
        return
    middle = 1 + (common - 1) // 2
    halves = (range(1, middle), range(middle, common))
    headings = ("rounds", "T4", "T5", "points", "95 %", "p")
    tables = tuple(
        Table(headings, tuple(_row(pairs, half, field) for half in halves), caption)
        for field, caption in (("reward", "Reward of episodes"), ("failing_share", "Share of failing code"))
    )
    episodes, both = (fmean(pair[of][common - 1].tokens for pair in pairs) for of in (0, 1))
    yield Section(
        "At equal rounds: what the step level does to learning",
        tables,
        (
            (
                "Training problems, which are the same in both runs, sampled without self-correction. At equal rounds both have the same "
                "number of episodes and updates, but T5 has sampled its continuations as well: "
                f"{whole(round(both))} tokens in {common} rounds where T4 has {whole(round(episodes))}, "
                f"{100 * (both / episodes - 1):.0f} % more. Differences are paired by seed; no p is adjusted."
            ),
        ),
    )


def _row(pairs: Sequence[tuple[Curve, Curve]], rounds: range, field: str) -> Row:
    """Means of a figure over some rounds."""
    found = [(_mean(first, rounds, field), _mean(second, rounds, field)) for first, second in pairs]
    known = [(first, second) for first, second in found if first is not None and second is not None]
    label = f"{rounds.start + 1}–{rounds.stop}" if len(rounds) > 1 else str(rounds.stop)
    if not known:
        return Row((label, *[DASH] * 5))
    before, after = zip(*known, strict=True)
    return Row((label, f"{100 * fmean(before):.1f}", f"{100 * fmean(after):.1f}", *change_cells(change(before, after))))


def _mean(curve: Curve, rounds: range, field: str) -> float | None:
    values = [value for number in rounds if (value := getattr(curve[number], field)) is not None]
    return fmean(values) if values else None
