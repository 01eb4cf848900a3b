"""A study as sections of tables, each beside what the paper has."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Final

from thor_ray.config import RepairStrategy
from thor_ray.evaluation.paper import Paper
from thor_ray.evaluation.sections import DASH, Row, Section, Table, p_text, whole
from thor_ray.evaluation.significance import chi_squared
from thor_ray.records import EVALUATIONS, Stage
from thor_ray.study.cells import change_cells, limits, percent, share_cells, signed
from thor_ray.study.claims import (
    PAPER_MODELS,
    TRAINED,
    Verdict,
    accuracy,
    code_ratio,
    compared_claims,
    paired,
    pass_ratio,
)
from thor_ray.study.design import Comparison, StudyRow
from thor_ray.study.results import SeedResult, pooled_tool_success
from thor_ray.study.rounds import rounds_section
from thor_ray.study.seeds import Change, change, over_seeds


def study_sections(results: Sequence[SeedResult], rows: Sequence[StudyRow], paper: Paper) -> list[Section]:
    """Everything that the results support.

    Args:
        results: By seed.
        rows: In the order of the table.
        paper: To put beside ours.
    """
    finished = [row for row in rows if any(row.label in result.rows for result in results)]
    shown = [row for row in finished if row.comparison is Comparison.ABLATION]
    return [
        *_claims(results, paper),
        _ablation(results, shown, paper),
        _code(results, shown),
        _tool_success(results, shown),
        *_repair(results, finished, paper),
        *_selection(results, shown, paper),
        *_demonstrations(results, finished),
        *rounds_section(results),
        _cost(results, shown),
        _time(results),
    ]


def _claims(results: Sequence[SeedResult], paper: Paper) -> Iterator[Section]:
    claims = compared_claims(results, paper)
    if not claims:
        return
    lines = [
        Row(
            (
                one.claim,
                *(DASH if point is None else signed(point) for point in one.paper),
                *change_cells(one.found),
                one.verdict,
            )
        )
        for one in claims
    ]
    missed = [one.claim for one in claims if one.verdict is not Verdict.HOLDS]
    said = (
        f"Not borne out here, {len(missed)} of {len(claims)}: {'; '.join(missed)}." if missed else "All of them hold."
    )
    yield Section(
        "What the paper claims, and what came out",
        (
            Table(
                ("claim", *(f"paper, {model}" for model in PAPER_MODELS), "points", "95 %", "p", "here"), tuple(lines)
            ),
        ),
        (
            (
                "Differences in points, ours paired by seed. A claim holds where the 95 % interval over seeds lies above nought. "
                "Of the trained policy the paper's are those of THOR-7B and THOR-Thinking-8B, which its method made of the two."
            ),
            said,
        ),
    )


def _ablation(results: Sequence[SeedResult], rows: Sequence[StudyRow], paper: Paper) -> Section:
    lines = []
    for row in rows:
        mean = over_seeds([accuracy(one.rows[row.label]) for one in results if row.label in one.rows])
        found = None if row.after is None else paired(results, row.after, row.label)
        ours = (row.label, row.title, percent(mean), limits(mean), str(len(mean.values)))
        lines.append(Row((*ours, *_row_change(row, found), *_paper_cells(row, paper))))
    headings = (
        *("", "policy", "avg@k", "95 %", "seeds", "adds to", "points", "95 %", "p"),
        *(f"paper, {model}" for model in PAPER_MODELS),
    )
    return Section(
        "What each part adds (paper, table 3)",
        (Table(headings, tuple(lines)),),
        (
            (
                "Accuracies in per cent, means over seeds with Student's 95 % intervals; a seed has problems, demonstrations, "
                "sampling and order of its own. Changes are paired by seed, p by the paired t-test, not adjusted for their "
                "number. The paper's figures are means over six benchmarks, one run each: what can be compared is the sign."
            ),
        ),
    )


def _row_change(row: StudyRow, found: Change | None) -> tuple[str, ...]:
    if row.after is None or found is None:
        return (row.after or DASH, DASH, DASH, DASH)
    return row.after, *change_cells(found)


def _paper_cells(row: StudyRow, paper: Paper) -> Iterator[str]:
    table = paper.tables["ablation"]
    for model in PAPER_MODELS:
        value = None
        if row.in_paper is not None:
            (found,) = [one for one in table.rows if one.group == model and one.label.startswith(row.in_paper)]
            (value,) = table.values(found, ["average"])
        yield DASH if value is None else f"{value:.1f}"


def _code(results: Sequence[SeedResult], rows: Sequence[StudyRow]) -> Section:
    lines = []
    for row in rows:
        figures = [result.rows[row.label] for result in results if row.label in result.rows]
        codes = [one.code for one in figures if one.code is not None]
        ratio = over_seeds([code.code_ratio.value for code in codes])
        rates = [code.pass_rate.value for code in codes if code.pass_rate is not None]
        passing = over_seeds(rates) if len(rates) == len(codes) else None
        failed = sum(code.failed_calls for code in codes)
        lines.append(
            Row(
                (
                    row.label,
                    row.title,
                    percent(ratio),
                    whole(failed),
                    whole(sum(code.calls for code in codes) - failed),
                    DASH if passing is None else percent(passing),
                    DASH if passing is None else limits(passing),
                )
            )
        )
    headings = ("", "policy", "code ratio", "failed calls", "successful calls", "pass ratio", "95 %")
    return Section(
        "Code (paper, table 6)",
        (Table(headings, tuple(lines)),),
        ("Calls are added up over seeds. Attempts that self-correction cut away are no calls, as in the paper.",),
    )


def _tool_success(results: Sequence[SeedResult], rows: Sequence[StudyRow]) -> Section:
    lines = []
    for row in rows:
        table = pooled_tool_success(result.rows[row.label] for result in results if row.label in result.rows)
        if not table.total:
            continue
        test = chi_squared(table)
        counts = (table.right_passed, table.right_failed, table.wrong_passed, table.wrong_failed)
        lines.append(
            Row(
                (
                    row.label,
                    *map(whole, counts),
                    f"{100 * table.right_passed / table.passed:.1f}" if table.passed else DASH,
                    f"{100 * table.right_failed / table.failed:.1f}" if table.failed else DASH,
                    *((f"{test[0]:.1f}", p_text(test[1])) if test else (DASH, DASH)),
                )
            )
        )
    headings = (
        *("", "right, passed", "right, failed", "wrong, passed", "wrong, failed"),
        *("right if passed", "right if failed", "χ²", "p"),
    )
    return Section(
        "Does a tool call's success predict the answer's correctness? (paper, table 4)",
        (Table(headings, tuple(lines)),),
        (
            (
                "Samples of all seeds, those without code left out; failed means that any block failed. The paper has χ² = 336.3, "
                "71.8 % right where the code passes and 30.4 % where it fails. Samples of one problem are taken for independent, "
                "as there."
            ),
        ),
    )


_REPAIRED: Final = {"T3": "T3c", "T5": "T6"}
"""Rows that repair by step suffix, by the row whose failures are repaired."""


def _repair(results: Sequence[SeedResult], rows: Sequence[StudyRow], paper: Paper) -> Iterator[Section]:
    labels = {row.label: row for row in rows}
    lines = []
    for base, suffix in _REPAIRED.items():
        others = [row for row in rows if row.comparison is Comparison.REPAIR and row.after == base]
        if base not in labels or suffix not in labels or not others:
            continue
        strategies = {RepairStrategy.STEP_SUFFIX.value: suffix, **{row.title: row.label for row in others}}
        lines.append(Row((base, "none", *_repair_cells(results, base, base), *_paper_repair("none", paper))))
        for strategy in RepairStrategy:
            label = strategies[strategy]
            cells = _repair_cells(results, base, label)
            lines.append(Row((base, strategy.replace("_", " "), *cells, *_paper_repair(strategy, paper))))
    if lines:
        headings = ("", "repair", "avg@k", "95 %", "points", "95 %", "p", "pass ratio", "tokens cut away")
        yield Section(
            "Repair strategies (paper, table 5)",
            (Table((*headings, *(f"paper, {model}" for model in TRAINED)), tuple(lines)),),
            (
                "Points are above no repair, paired by seed. The paper repairs the trained policy; the cold start fails more often.",
            ),
        )


def _repair_cells(results: Sequence[SeedResult], base: str, label: str) -> tuple[str, ...]:
    figures = [result.rows[label] for result in results if label in result.rows]
    mean = over_seeds([accuracy(one) for one in figures])
    added = (DASH, DASH, DASH) if label == base else change_cells(paired(results, base, label))
    rates = _known(pass_ratio(one) for one in figures)
    cut = [one.tokens.discarded for one in figures if one.tokens is not None]
    return (
        percent(mean),
        limits(mean),
        *added,
        f"{100 * fmean(rates):.1f}" if rates else DASH,
        f"{fmean(cut):.1f}" if cut else DASH,
    )


def _paper_repair(strategy: str, paper: Paper) -> Iterator[str]:
    table = paper.tables["repair"]
    for group in TRAINED:
        (row,) = [row for row in table.rows if row.group == group and row.label == strategy]
        (value,) = table.values(row, ["average"])
        yield DASH if value is None else f"{value:.1f}"


def _selection(results: Sequence[SeedResult], rows: Sequence[StudyRow], paper: Paper) -> Iterator[Section]:
    """Selection among the candidates of the trained policy, which do not correct themselves, as in the paper."""
    row = next((row for row in rows if row.label == "T5"), None)
    found = [result.rows["T5"] for result in results if "T5" in result.rows]
    if row is None or not all(one.selection for one in found):
        return
    lines = [Row(("no selection", *share_cells([one.accuracy.value for one in found]), DASH, DASH, DASH))]
    for method in (chosen.method for chosen in found[0].selection):
        chosen = [next(each for each in one.selection if each.method == method) for one in found]
        added = change([one.accuracy.value for one in found], [one.accuracy.value for one in chosen])
        lines.append(
            Row((method.replace("_", " "), *share_cells([one.accuracy.value for one in chosen]), *change_cells(added)))
        )
    candidates = found[0].selection[0].candidates
    said = ", ".join(
        f"{row.label} {value:.1f}"
        for row in paper.tables["selection"].rows
        if row.group == "THOR-7B" and (value := paper.tables["selection"].values(row, ["average"])[0]) is not None
    )
    yield Section(
        f"Choosing one of {candidates} (paper, table 2)",
        (Table(("T5", "accuracy", "95 %", "points", "95 %", "p"), tuple(lines)),),
        (f"Points are above the mean candidate, paired by seed. The paper has for THOR-7B: {said}.",),
    )


def _demonstrations(results: Sequence[SeedResult], rows: Sequence[StudyRow]) -> Iterator[Section]:
    if not any(row.comparison is Comparison.DEMONSTRATIONS for row in rows):
        return
    lines = []
    for row in rows:
        if row.label not in ("T1", "T3") and row.comparison is not Comparison.DEMONSTRATIONS:
            continue
        figures = [result.rows[row.label] for result in results if row.label in result.rows]
        rates = _known(pass_ratio(one) for one in figures)
        tried = [max(one.pass_at, key=lambda at: at.k) for one in figures if one.pass_at]
        lines.append(
            Row(
                (
                    row.label,
                    row.title,
                    *share_cells(_known(code_ratio(one) for one in figures)),
                    f"{100 * fmean(rates):.1f}" if rates else DASH,
                    *share_cells([one.accuracy.value for one in figures]),
                    *share_cells([at.share.value for at in tried]),
                )
            )
        )
    most = max((at.k for result in results for one in result.rows.values() for at in one.pass_at), default=1)
    headings = ("", "policy", "code ratio", "95 %", "pass ratio", "avg@k", "95 %", f"pass@{most}", "95 %")
    yield Section(
        "Demonstrations against plain solutions (paper, figure 4)",
        (Table(headings, tuple(lines)),),
        (
            (
                "All three have the same problems; both cold starts the same number of solutions and of updates. The paper has code "
                "ratios of 74.8 for the base, 91.7 with TIRGen and 43.6 with another data set (not reasoning), and of 8.5, 88.3 and 81.3."
            ),
        ),
    )


def _cost(results: Sequence[SeedResult], rows: Sequence[StudyRow]) -> Section:
    lines = []
    for row in rows:
        figures = [result.rows[row.label] for result in results if row.label in result.rows]
        tokens = [one.tokens for one in figures if one.tokens is not None]
        calls = [one.code.sandbox_calls / one.samples for one in figures if one.code is not None]
        spent = [result.curves[row.run][-1].tokens for result in results if result.curves.get(row.run)]
        lines.append(
            Row(
                (
                    row.label,
                    row.title,
                    f"{fmean(one.generated.value for one in tokens):.1f}",
                    f"{fmean(one.discarded for one in tokens):.1f}",
                    f"{fmean(calls):.2f}",
                    whole(round(fmean(spent))) if spent else DASH,
                )
            )
        )
    headings = ("", "policy", "tokens a sample", "of these cut away", "sandbox calls a sample", "tokens sampled in RL")
    return Section("What it costs (paper, table 7)", (Table(headings, tuple(lines)),))


def _time(results: Sequence[SeedResult]) -> Section:
    """Mean minutes of each run's stages, over the seeds that have finished them."""
    kinds = {
        "TIRGen": (Stage.TIRGEN,),
        "cold start": (Stage.COLD_START,),
        "RL": (Stage.RL,),
        "evaluations": EVALUATIONS,
    }
    by_run: dict[str, list[float]] = {}
    for run in dict.fromkeys(run for result in results for run in result.seconds):
        stages = [result.seconds[run] for result in results if run in result.seconds]
        by_run[run] = [fmean(sum(one.get(stage, 0.0) for stage in kind) for one in stages) for kind in kinds.values()]
    by_run["all"] = [sum(column) for column in zip(*by_run.values(), strict=True)]
    lines = [
        Row((run, *(_minutes(seconds) for seconds in (*parts, sum(parts)))), ours=run == "all")
        for run, parts in by_run.items()
    ]
    return Section(
        "Where the time goes",
        (Table(("minutes a seed", *kinds, "together"), tuple(lines)),),
        ("Means over seeds. Starting the workers of each run is not counted; as many seeds as cores go side by side.",),
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds else DASH


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
