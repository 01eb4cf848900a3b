"""One evaluation as sections of tables, with what its figures mean."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from thor_ray.evaluation.comparison_tables import signed_points
from thor_ray.evaluation.figures import BenchmarkFigures, EvaluationReport, SliceFigures
from thor_ray.evaluation.sections import (
    DASH,
    Row,
    Section,
    Table,
    average_label,
    interval,
    label,
    p_text,
    plain,
    whole,
)
from thor_ray.evaluation.selection import Method
from thor_ray.texts import figure_text, percent

METHODS: Final = {
    "self_consistency": "self-consistency (majority)",
    "self_rewarded": "self-rewarded (code success)",
    "external": "reward model",
    "self_rewarded_external": "self-rewarded, ties by reward model",
}

_LEFT_OUT: Final = "Samples that we failed (aborted, or the grader broke) are left out and counted."
_MORE_SAMPLES: Final = (
    "pass@k: chance that at least one of k samples is correct (unbiased, Chen et al. 2021). majority@k: chance that their "
    "most frequent answer is; a tie counts as the share of tied answers that are correct."
)
_CHOOSING: Final = (
    "One of the candidates is chosen without knowing the gold answer. What the reward model ties on is decided by code "
    "success; ties that are left go to the majority answer among those tied, then to the first candidate."
)
_CHOOSING_SCALE: Final = (
    "Any one is a candidate drawn at random (avg@k), the best there is knows the gold answer (pass@k): no choice can do "
    "better. Gains are over any one, in percentage points, paired by problem. Tokens and sandbox calls are per problem: "
    "choosing pays for all its candidates."
)
_JUDGE: Final = (
    "A language model was asked whether answers that the rules did not accept mean the same as the gold answer. Its "
    "verdicts stand beside those of the rules: every other figure of this report is by the rules alone."
)
_CODE: Final = (
    "Code ratio: samples that executed code. Calls are executed blocks that stand in the samples; attempts that "
    "self-correction cut away are counted as corrected, blocks that our own failure kept from running as lost."
)
_TOOL_SUCCESS: Final = (
    "Code passed: some block was executed, and every one succeeded. χ² as in the paper takes samples of one problem for "
    "independent and mixes in that hard problems fail in both ways; within problems (Cochran–Mantel–Haenszel) it tells "
    "whether code success can choose among samples of the same problem."
)
_COST: Final = (
    "Per sample, everything that self-correction cut away included. Samples run side by side, so that seconds of waiting "
    "add up to more than the evaluation took; samples per second are by the clock. Cached is the share of the tokens "
    "that requests condition on whose keys and values were reused: of the text so far after a program, of the prefix of a "
    "failed step, of a prompt that several samples share."
)


def evaluation_sections(report: EvaluationReport) -> list[Section]:
    """Sections of one evaluation, without the paper's figures."""
    parts: list[Callable[[EvaluationReport], Section | None]] = [
        accuracy_section,
        _more_samples_section,
        _selection_section,
        _judge_section,
        _code_section,
        _tool_success_section,
        _cost_section,
        _outcome_section,
        _slices_section,
    ]
    return [section for part in parts if (section := part(report)) is not None]


def accuracy_section(report: EvaluationReport) -> Section:
    """What everybody looks at first."""
    rows = [
        Row(
            (
                label(part),
                percent(part.accuracy.value),
                interval(part.accuracy),
                percent(part.pass_at[-1].share.value),
                percent(part.majority_at[-1].share.value),
                f"{part.problems} × {part.samples_per_problem}",
                percent(part.no_box_share),
                percent(part.truncated_share),
                str(sum(part.excluded.values())),
            )
        )
        for part in report.benchmarks
    ]
    rows += [
        Row((average_label(one), percent(one.accuracy.value), interval(one.accuracy), *[""] * 6), ours=True)
        for one in report.averages
    ]
    headings = ("benchmark", "avg@k", "95 %", "pass@k", "majority@k", "problems × k", "no box", "cut off", "left out")
    resampling = f"{report.bootstrap_resamples:,} times, seed {report.bootstrap_seed}"
    means = "avg@k is the mean over problems of the share of correct samples; its interval is by resampling problems"
    notes = [f"{means} ({resampling}). {_LEFT_OUT}"]
    if tolerant := sum(part.within_tolerance for part in report.benchmarks):
        notes.append(f"{tolerant} samples are correct only within the tolerance that their benchmark allows.")
    if unjudged := sum(part.unjudged_problems for part in report.benchmarks):
        notes.append(f"{unjudged} problems are missing altogether: none of their samples could be judged.")
    return Section("Accuracy", (Table(headings, tuple(rows)),), tuple(notes))


def _more_samples_section(report: EvaluationReport) -> Section | None:
    rows = [
        Row(
            (
                label(part) if position == 0 else "",
                str(passed.k),
                percent(passed.share.value),
                interval(passed.share),
                percent(voted.share.value),
                interval(voted.share),
                str(passed.problems),
            )
        )
        for part in report.benchmarks
        if part.samples_per_problem > 1
        for position, (passed, voted) in enumerate(zip(part.pass_at, part.majority_at, strict=True))
    ]
    if not rows:
        return None
    headings = ("benchmark", "k", "pass@k", "95 %", "majority@k", "95 %", "problems")
    return Section("More samples", (Table(headings, tuple(rows)),), (_MORE_SAMPLES,))


def _selection_section(report: EvaluationReport) -> Section | None:
    rows = [row for part in report.benchmarks for row in _selection_rows(part)]
    if not rows:
        return None
    headings = (
        "benchmark", "chosen by", "accuracy", "95 %", "tokens", "sandbox calls", "gain", "95 %", "over majority", "95 %",
        "candidates",
    )  # fmt: skip
    models = {one.reward_model for part in report.benchmarks for one in part.selection if one.reward_model is not None}
    notes = [f"The reward model is {', '.join(sorted(models))}."] if models else []
    return Section("Choosing one candidate", (Table(headings, tuple(rows)),), (_CHOOSING, _CHOOSING_SCALE, *notes))


def _selection_rows(part: BenchmarkFigures) -> Iterator[Row]:
    """A candidate at random, each method, and what no method can exceed."""
    if not part.selection:
        return
    known = part.selection[0]
    one, every = part.accuracy, part.pass_at[-1].share
    cost = [None if total is None else total / known.candidates for total in (known.tokens, known.sandbox_calls)]
    yield Row((label(part), "any one", percent(one.value), interval(one), *map(figure_text, cost), *[""] * 4, "1"))
    for method in part.selection:
        yield Row(
            (
                "",
                METHODS[method.method],
                percent(method.accuracy.value),
                interval(method.accuracy),
                figure_text(method.tokens),
                figure_text(method.sandbox_calls),
                signed_points(method.gain.value),
                interval(method.gain, signed_points, " to "),
                signed_points(method.over_majority.value),
                interval(method.over_majority, signed_points, " to "),
                str(method.candidates),
            ),
            ours=method.method == Method.SELF_REWARDED,
        )
    yield Row(("", "the best there is", percent(every.value), interval(every), *[""] * 6, str(known.candidates)))


def _judge_section(report: EvaluationReport) -> Section | None:
    rows = [
        Row(
            (
                label(part),
                percent(part.accuracy.value),
                interval(part.accuracy),
                percent(judge.accuracy.value),
                interval(judge.accuracy),
                whole(judge.asked),
                whole(judge.accepted),
                whole(judge.refused),
                whole(judge.failed),
                ", ".join(judge.judges),
            )
        )
        for part in report.benchmarks
        if (judge := part.judge) is not None
    ]
    if not rows:
        return None
    headings = (
        "benchmark", "by rules", "95 %", "by rules or judge", "95 %", "asked", "accepted", "refused", "no verdict", "judge"
    )  # fmt: skip
    return Section("Second opinion", (Table(headings, tuple(rows)),), (_JUDGE,))


def _code_section(report: EvaluationReport) -> Section | None:
    rows = [
        Row(
            (
                label(part),
                percent(code.code_ratio.value),
                interval(code.code_ratio),
                f"{code.calls_per_sample:.2f}",
                whole(code.calls),
                whole(code.failed_calls),
                DASH if code.pass_rate is None else percent(code.pass_rate.value),
                DASH if code.pass_rate is None else interval(code.pass_rate),
                whole(code.discarded_attempts),
                whole(code.infra_errors),
            )
        )
        for part in report.benchmarks
        if (code := part.code) is not None
    ]
    if not rows:
        return None
    headings = (
        "benchmark", "code ratio", "95 %", "calls per sample", "calls", "failed", "pass rate", "95 %", "corrected", "lost"
    )  # fmt: skip
    return Section("Code", (Table(headings, tuple(rows)),), (_CODE,))


def _tool_success_section(report: EvaluationReport) -> Section | None:
    rows = []
    for part in report.benchmarks:
        if (table := part.tool_success) is None:
            continue
        counts = (table.right_passed, table.right_failed, table.wrong_passed, table.wrong_failed)
        tests = [
            cell
            for test in (table.overall, table.within_problems)
            for cell in ((f"{test.statistic:.1f}", p_text(test.p_value)) if test else (DASH, DASH))
        ]
        shares = percent(table.accuracy_passed), percent(table.accuracy_failed)
        rows.append(Row((label(part), *map(whole, counts), *shares, *tests)))
    if not rows:
        return None
    headings = (
        "benchmark", "right, code passed", "right, code failed", "wrong, code passed", "wrong, code failed",
        "accuracy if passed", "if failed", "χ²", "p", "χ² within problems", "p",
    )  # fmt: skip
    return Section("Does success of the code tell right from wrong?", (Table(headings, tuple(rows)),), (_TOOL_SUCCESS,))


def _cost_section(report: EvaluationReport) -> Section | None:
    parts = [part for part in report.benchmarks if part.tokens is not None or part.speed is not None]
    if not parts:
        return None
    headings = (
        "benchmark", "tokens", "95 %", "kept", "cut away", "cached", "sandbox calls", "s for tokens", "s in programs",
        "s for grading", "samples/s",
    )  # fmt: skip
    return Section("Cost", (Table(headings, tuple(map(_cost_row, parts))),), (_COST,))


def _cost_row(part: BenchmarkFigures) -> Row:
    tokens, speed, code = part.tokens, part.speed, part.code
    of_tokens: tuple[str, ...] = (DASH,) * 5
    of_speed: tuple[str, ...] = (DASH,) * 4
    if tokens is not None:
        generated = tokens.generated
        means = map(figure_text, (tokens.kept, tokens.discarded))
        cached = percent(tokens.cached_share)
        of_tokens = (figure_text(generated.value), interval(generated, figure_text), *means, cached)
    if speed is not None:
        figures = (speed.llm_seconds, speed.tool_seconds, speed.grade_seconds, speed.samples_per_second)
        of_speed = tuple(map(figure_text, figures))
    return Row(
        (label(part), *of_tokens, figure_text(None if code is None else code.sandbox_calls / code.samples), *of_speed)
    )


def _outcome_section(report: EvaluationReport) -> Section:
    verdicts = list(dict.fromkeys(name for part in report.benchmarks for name in part.outcomes))
    ends = list(dict.fromkeys(name for part in report.benchmarks for name in part.finish))
    tables = [
        Table(
            ("benchmark", *map(plain, verdicts)),
            tuple(Row((label(p), *(whole(p.outcomes.get(name, 0)) for name in verdicts))) for p in report.benchmarks),
            "Verdicts of the grader",
        )
    ]
    if ends:
        rows = [Row((label(p), *(whole(p.finish.get(name, 0)) for name in ends))) for p in report.benchmarks]
        tables.append(Table(("benchmark", *map(plain, ends)), tuple(rows), "How samples ended"))
    if any(part.excluded for part in report.benchmarks):
        reasons = list(dict.fromkeys(name for part in report.benchmarks for name in part.excluded))
        rows = [Row((label(p), *(whole(p.excluded.get(name, 0)) for name in reasons))) for p in report.benchmarks]
        tables.append(Table(("benchmark", *map(plain, reasons)), tuple(rows), "Left out"))
    return Section("Outcomes", tuple(tables))


def _slices_section(report: EvaluationReport) -> Section | None:
    tables = [
        Table(
            (kind, "avg@k", "95 %", "problems", "samples"),
            tuple(
                Row(
                    (one.name, percent(one.accuracy.value), interval(one.accuracy), str(one.problems), str(one.samples))
                )
                for one in slices
            ),
            f"{label(part)} by {kind}",
        )
        for part in report.benchmarks
        for kind, slices in _slices(part)
    ]
    return Section("Subjects and levels", tuple(tables)) if tables else None


def _slices(part: BenchmarkFigures) -> Iterator[tuple[str, Sequence[SliceFigures]]]:
    for kind, slices in (("subject", part.subjects), ("level", part.levels)):
        if slices:
            yield kind, slices
