"""A report says of its rows what they are, whatever their order, and calls nothing zero that it does not know."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.evaluations import ABOUT, full_samples, outcome_tables, sample, samples
from thor_ray.config import RepairStrategy
from thor_ray.evaluation.analysis import evaluation_report
from thor_ray.evaluation.figures import BenchmarkFigures, EvaluationReport
from thor_ray.evaluation.samples import CodeUse, EvaluationSample, JudgeVerdict, Timing, TokenUse
from thor_ray.evaluation.selection import NoCode
from thor_ray.grading import GradeStatus
from thor_ray.trajectory import FinishReason


def report_of(rows: list[EvaluationSample], **options) -> EvaluationReport:
    return evaluation_report(rows, ABOUT, **({"resamples": 200} | options))


def figures_of(rows: list[EvaluationSample], **options) -> BenchmarkFigures:
    [part] = report_of(rows, **options).benchmarks
    return part


@settings(max_examples=50)
@given(outcome_tables)
def test_accuracy_is_the_mean_over_problems_and_equals_pass_at_1(outcomes):
    part = figures_of(samples(outcomes))
    assert part.accuracy.value == pytest.approx(sum(sum(one) / len(one) for one in outcomes) / len(outcomes))
    assert part.pass_at[0].share.value == pytest.approx(part.accuracy.value)
    assert part.samples == sum(map(len, outcomes))
    assert part.samples_per_problem == max(map(len, outcomes))
    assert part.pass_at[-1].problems == sum(len(one) == part.samples_per_problem for one in outcomes)
    for point in part.pass_at:
        assert point.share.low is not None
        assert point.share.high is not None
        assert 0 <= point.share.low <= point.share.value <= point.share.high <= 1


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_plays_no_part(random):
    rows = full_samples(8)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert report_of(shuffled) == report_of(rows)


def test_the_same_seed_gives_the_same_report_and_another_other_intervals():
    rows = full_samples(20)
    first, again, other = report_of(rows, seed=1), report_of(rows, seed=1), report_of(rows, seed=2)
    assert first == again
    assert first.benchmarks[0].accuracy.value == other.benchmarks[0].accuracy.value
    assert first.benchmarks[0].accuracy.low != other.benchmarks[0].accuracy.low


def test_what_we_failed_is_left_out_and_counted():
    rows = [
        sample("a", 0, True),
        sample("a", 1, status=GradeStatus.ERROR),
        sample("a", 2, finish=FinishReason.ABORTED),
        sample("b", 0, status=None),
    ]
    part = figures_of(rows)
    assert part.accuracy.value == 1
    assert (part.problems, part.samples, part.unjudged_problems) == (1, 1, 1)
    assert part.excluded == {"aborted": 1, "error": 1, "ungraded": 1}
    with pytest.raises(ValueError, match="not one sample could be judged"):
        report_of(rows[1:])


def test_a_comparison_that_ran_out_of_time_counts_as_not_correct():
    part = figures_of([sample("a", 0), sample("a", 1, status=GradeStatus.TIMEOUT)])
    assert part.accuracy.value == 0.5
    assert part.outcomes == {"correct": 1, "timeout": 1}


def test_what_is_unknown_is_null():
    part = figures_of(samples([[True, False]]))
    unknown = (part.code, part.tokens, part.speed, part.tool_success, part.truncated_share)
    assert unknown == (None,) * 5
    assert [one.method for one in part.selection] == ["self_consistency"]
    assert part.subjects == part.levels == []


def test_code_figures_count_what_stands_and_what_was_cut_away():
    rows = [
        sample("a", 0, code=CodeUse(executed=3, failed=1, discarded=2)),
        sample("a", 1, code=CodeUse(executed=0, failed=0, lost=1)),
        sample("b", 0, code=CodeUse(executed=1, failed=0)),
        sample("b", 1),
    ]
    code = figures_of(rows).code
    assert code is not None
    assert code.samples == 3
    assert code.code_ratio.value == pytest.approx(2 / 3)
    assert (code.calls, code.failed_calls, code.discarded_attempts, code.infra_errors) == (4, 1, 2, 1)
    assert code.pass_rate is not None
    assert code.pass_rate.value == 0.75
    assert code.calls_per_sample == pytest.approx(4 / 3)
    assert code.sandbox_calls == 7


def test_a_pass_rate_without_calls_is_undefined():
    part = figures_of([sample("a", 0, code=CodeUse(executed=0, failed=0))])
    assert part.code is not None
    assert part.code.pass_rate is None
    assert part.code.code_ratio.value == 0
    assert part.tool_success is not None
    assert part.tool_success.without_code == 1
    assert part.tool_success.overall is None


def test_tokens_are_generated_kept_and_discarded():
    rows = [sample("a", i, tokens=TokenUse(generated=100 * (i + 1), discarded=10 * i)) for i in range(3)]
    tokens = figures_of(rows).tokens
    assert tokens is not None
    assert (tokens.generated.value, tokens.kept, tokens.discarded) == (200, 190, 10)
    assert tokens.total_generated == 600
    assert tokens.generated.low is None  # one problem says nothing of the spread


def test_speed_is_by_the_clock_and_pauses_between_starts_do_not_count():
    def timed(problem: str, attempt: int, began: float, ended: float) -> EvaluationSample:
        return sample(problem, attempt=attempt, timing=Timing(llm=3.0, started_at=began, ended_at=ended))

    rows = [timed("a", 1, 0, 10), timed("b", 1, 5, 20), timed("c", 2, 1000, 1010), timed("d", 2, 1001, 1020)]
    speed = figures_of(rows).speed
    assert speed is not None
    assert speed.wall_seconds == 40
    assert speed.samples_per_second == 0.1
    assert speed.llm_seconds == 3
    assert speed.tool_seconds is None
    half_clocked = figures_of([*rows, sample("e", timing=Timing(llm=3.0))]).speed
    assert half_clocked is not None
    assert (half_clocked.samples, half_clocked.samples_per_second) == (5, 0.1)
    unclocked = figures_of([sample("a", timing=Timing(grade=0.5))]).speed
    assert unclocked is not None
    assert unclocked.wall_seconds is unclocked.samples_per_second is None


def test_the_table_of_code_success_and_correctness():
    def coded(problem: str, index: int, correct: bool, failed: int) -> EvaluationSample:
        return sample(problem, index, correct, code=CodeUse(executed=2, failed=failed))

    rows = [
        *[coded("a", index, True, 0) for index in range(3)],
        coded("a", 3, False, 1),
        coded("b", 0, True, 2),
        coded("b", 1, False, 0),
        sample("b", 2, True, code=CodeUse(executed=0, failed=0)),
    ]
    table = figures_of(rows).tool_success
    assert table is not None
    assert (table.right_passed, table.right_failed, table.wrong_passed, table.wrong_failed) == (3, 1, 1, 1)
    assert table.without_code == 1
    assert (table.accuracy_passed, table.accuracy_failed) == (0.75, 0.5)
    assert table.overall is not None
    assert table.overall.statistic == pytest.approx(6 * (3 * 1 - 1 * 1) ** 2 / (4 * 2 * 4 * 2))
    assert table.within_problems is not None


def test_self_rewarded_selection_prefers_code_that_ran():
    rows = [
        sample("a", 0, False, answer="1", code=CodeUse(executed=1, failed=1)),
        sample("a", 1, False, answer="1", code=CodeUse(executed=1, failed=1)),
        sample("a", 2, True, code=CodeUse(executed=1, failed=0)),
    ]
    by_method = {one.method: one.accuracy.value for one in figures_of(rows).selection}
    assert by_method == {"self_consistency": 0, "self_rewarded": 1}
    silent = [*rows, sample("a", 3, False, answer="2", code=CodeUse(executed=0, failed=0))]
    last = {one.method: one.accuracy.value for one in figures_of(silent, no_code=NoCode.LAST).selection}
    assert last["self_rewarded"] == 1


def test_scores_of_a_reward_model_add_its_methods():
    rows = [sample("a", index, index == 1, external_score=float(index == 1)) for index in range(2)]
    by_method = {one.method: one.accuracy.value for one in figures_of(rows).selection}
    assert by_method == {"self_consistency": 0, "external": 1}


def test_a_choice_is_compared_with_no_choice_and_with_the_majority_and_pays_for_all_candidates():
    passed, failed = CodeUse(executed=1, failed=0, discarded=1), CodeUse(executed=2, failed=1)
    rows = [
        sample(
            f"p{problem}", index, index == 2, answer=None if index == 2 else "1", code=passed if index == 2 else failed
        )
        for problem in range(6)
        for index in range(4)
    ]
    rows = [dataclasses.replace(row, answer=row.answer or "36", tokens=TokenUse(generated=50)) for row in rows]
    chosen = {one.method: one for one in figures_of(rows).selection}
    own, vote = chosen["self_rewarded"], chosen["self_consistency"]
    assert (own.accuracy.value, own.gain.value, own.over_majority.value) == (1, 0.75, 1)
    assert (vote.accuracy.value, vote.gain.value, vote.over_majority.value) == (0, -0.25, 0)
    assert (own.candidates, own.tokens, own.sandbox_calls) == (4, 200, 2 + 3 * 2)
    unknown = [dataclasses.replace(row, tokens=None) for row in rows[:1]] + rows[1:]
    assert figures_of(unknown).selection[0].tokens is None


def test_a_judge_stands_beside_the_rules_and_changes_nothing_else():
    rows = samples([[True, False, False, False]] * 3)
    verdicts = [GradeStatus.CORRECT, GradeStatus.WRONG, GradeStatus.ERROR]
    asked = [
        row
        if row.correct
        else dataclasses.replace(row, judge=JudgeVerdict(judge="j", status=verdicts[row.sample_index - 1]))
        for row in rows
    ]
    by_rules, both = figures_of(rows), figures_of(asked)
    assert by_rules.judge is None
    assert both.judge is not None
    assert (both.judge.asked, both.judge.accepted, both.judge.refused, both.judge.failed) == (9, 3, 3, 3)
    assert (both.judge.accuracy.value, both.judge.judges) == (0.5, ["j"])
    assert both.model_copy(update={"judge": None}) == by_rules


def test_the_cached_share_is_of_the_samples_that_know_it():
    rows = [
        sample("a", 0, tokens=TokenUse(generated=5, prompt=100, cached=80)),
        sample("a", 1, tokens=TokenUse(generated=5, prompt=300, cached=300)),
        sample("a", 2, tokens=TokenUse(generated=5)),
    ]
    tokens = figures_of(rows).tokens
    assert tokens is not None
    assert (tokens.prompt, tokens.cached_share) == (200, 0.95)
    unknown = figures_of(rows[2:]).tokens
    assert unknown is not None
    assert unknown.prompt is unknown.cached_share is None


def test_votes_use_the_equivalence_that_they_are_given():
    rows = [
        sample("a", 0, False, answer="7"),
        sample("a", 1, True, answer="36"),
        sample("a", 2, True, answer="36.0"),
        sample("a", 3, False, answer="7 "),
    ]
    assert figures_of(rows).majority_at[-1].share.value == 0
    as_numbers = figures_of(rows, equivalent=lambda first, second: float(first) == float(second))
    assert as_numbers.majority_at[-1].share.value == 0.5


def test_subjects_and_levels_share_out_the_problems():
    part = figures_of(full_samples(20))
    assert [one.name for one in part.subjects] == ["Algebra", "Geometry"]
    assert [one.name for one in part.levels] == ["1", "2", "3", "4", "5"]
    for slices in (part.subjects, part.levels):
        assert sum(one.problems for one in slices) == part.problems
        weighted = sum(one.accuracy.value * one.problems for one in slices) / part.problems
        assert weighted == pytest.approx(part.accuracy.value)


def test_the_mean_over_benchmarks_is_unweighted():
    rows = samples([[True], [True], [False]]) + samples([[False]], benchmark="aime2024")
    report = report_of(rows)
    [average] = report.averages
    assert average.accuracy.value == pytest.approx((2 / 3 + 0) / 2)
    assert average.benchmarks == ["aime2024", "math500"]


def test_strategies_of_one_benchmark_stand_side_by_side():
    rows = full_samples(6) + [
        dataclasses.replace(row, strategy=RepairStrategy.STEP_SUFFIX) for row in full_samples(6, shift=1)
    ]
    assert [part.strategy for part in report_of(rows).benchmarks] == ["none", "step_suffix"]
    assert report_of(rows).averages == []


def test_every_field_of_the_schema_is_described():
    definitions = EvaluationReport.model_json_schema()["$defs"] | {
        "EvaluationReport": EvaluationReport.model_json_schema()
    }
    for name, model in definitions.items():
        for field, described in model["properties"].items():
            # A field that says no more than its type's own docstring refers to that.
            assert described.get("description") or "$ref" in described, f"{name}.{field}"


def test_a_report_comes_back_from_its_json():
    report = report_of(full_samples(6))
    assert EvaluationReport.model_validate_json(report.model_dump_json()) == report
