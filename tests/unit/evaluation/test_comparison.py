"""Comparisons pair problems, say which test decides and why, and refuse what cannot be compared."""

import dataclasses

import pytest
from hypothesis import given, settings

from tests.support.evaluations import ABOUT, full_samples, outcome_tables, sample, samples
from thor_ray.config import RepairStrategy
from thor_ray.errors import UserError
from thor_ray.evaluation.analysis import evaluation_report
from thor_ray.evaluation.comparison import comparison_report
from thor_ray.evaluation.figures import BenchmarkComparison, ComparisonReport
from thor_ray.evaluation.samples import EvaluationSample
from thor_ray.evaluation.significance import sign_test

OTHER = ABOUT.model_copy(update={"name": "theirs"})


def compared(a: list[EvaluationSample], b: list[EvaluationSample]) -> ComparisonReport:
    return comparison_report(a, b, ABOUT, OTHER, resamples=400)


def only(a: list[EvaluationSample], b: list[EvaluationSample]) -> BenchmarkComparison:
    [part] = compared(a, b).benchmarks
    return part


@settings(max_examples=40)
@given(outcome_tables)
def test_an_evaluation_does_not_differ_from_itself(outcomes):
    part = only(samples(outcomes), samples(outcomes))
    assert part.accuracy.difference.value == 0
    assert part.p_value == part.adjusted_p_value == 1
    assert part.verdict == "no evidence of a difference"
    assert part.changes == []
    assert part.test.equal == len(outcomes)


def test_exchanging_the_two_exchanges_signs_only():
    a, b = full_samples(20), full_samples(20, shift=3)
    there, back = only(a, b), only(b, a)
    assert there.accuracy.difference.value == -back.accuracy.difference.value
    assert there.accuracy.difference.low == pytest.approx(-(back.accuracy.difference.high or 0))
    assert there.p_value == back.p_value
    assert (there.test.a_better, there.test.b_better) == (back.test.b_better, back.test.a_better)
    assert [change.problem_id for change in there.changes] != []
    assert {change.problem_id for change in there.changes} == {change.problem_id for change in back.changes}


def test_single_outcomes_are_decided_by_mcnemar():
    a, b = samples([[False]] * 9 + [[True]] * 20), samples([[True]] * 28 + [[False]])
    part = only(a, b)
    assert part.test.name == "exact McNemar test"
    assert (part.test.b_better, part.test.a_better, part.test.equal) == (9, 1, 19)
    assert part.p_value == part.test.p_value == sign_test(9, 1)
    assert part.verdict == "b is better"
    assert part.pass_at_k is None


def test_several_samples_are_decided_by_the_bootstrap_beside_a_sign_test():
    a, b = samples([[True, False]] * 30), samples([[True, True]] * 15 + [[True, False]] * 15)
    part = only(a, b)
    assert part.test.name == "exact sign test"
    assert part.p_value == part.accuracy.p_value
    assert part.p_value < 0.01
    assert part.test.p_value == 2 / 2**15
    assert part.verdict == "b is better"
    assert part.pass_at_k is not None
    assert (part.k, part.pass_at_k.difference.value) == (2, 0)


def test_where_all_problems_change_alike_the_exact_test_decides():
    part = only(samples([[False, False]] * 12), samples([[True, True]] * 12))
    assert part.accuracy.p_value is None
    assert part.accuracy.difference.low is None
    assert part.p_value == part.test.p_value == 2 / 2**12


def test_pairing_makes_small_differences_visible():
    """Each problem is solved a little more often, which two separate intervals could not tell."""
    before = [number % 10 for number in range(40)]
    after = [solved + (number % 4 > 0) for number, solved in enumerate(before)]
    a, b = (samples([[True] * solved + [False] * (12 - solved) for solved in some]) for some in (before, after))
    part = only(a, b)
    assert part.accuracy.difference.value == pytest.approx(30 / 40 / 12)
    apart = [evaluation_report(rows, ABOUT, resamples=400).benchmarks[0].accuracy for rows in (a, b)]
    assert apart[0].high is not None
    assert apart[0].high > apart[1].value
    assert part.verdict == "b is better"


def test_only_common_problems_count_and_the_others_are_counted():
    part = only(samples([[True]] * 4), samples([[True]] * 6)[1:])
    assert (part.problems, part.only_a, part.only_b) == (3, 1, 2)


def test_benchmarks_are_adjusted_for_their_number():
    a = samples([[False]] * 7) + samples([[True]] * 7, benchmark="aime2024")
    b = samples([[True]] * 7) + samples([[True]] * 7, benchmark="aime2024") + samples([[True]], benchmark="extra")
    report = compared(a, b)
    by_name = {part.benchmark: part for part in report.benchmarks}
    assert by_name["math500"].p_value == 2 / 2**7
    assert by_name["math500"].adjusted_p_value == 2 * 2 / 2**7
    assert report.benchmarks_only_b == ["extra"]
    assert report.average is not None
    assert report.average.accuracy.difference.value == pytest.approx(0.5)


def test_what_only_looks_significant_among_several_benchmarks_is_no_evidence():
    a = samples([[False]] * 6) + samples([[True]] * 6, benchmark="aime2024")
    b = samples([[True]] * 6) + samples([[True]] * 6, benchmark="aime2024")
    by_name = {part.benchmark: part for part in compared(a, b).benchmarks}
    assert by_name["math500"].p_value == 2 / 2**6 < 0.05 < by_name["math500"].adjusted_p_value
    assert by_name["math500"].verdict == "no evidence of a difference"
    assert only(samples([[False]] * 6), samples([[True]] * 6)).verdict == "b is better"


def test_code_and_tokens_are_compared_where_both_know_them():
    part = only(full_samples(10), full_samples(10, shift=1))
    assert part.code_ratio is not None
    assert part.code_pass_rate is not None
    assert part.tokens is not None
    assert part.tokens.difference.value == 0
    assert only(full_samples(10), [*samples([[True]] * 10), sample("p00")]).tokens is None


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (samples([[True]], benchmark="aime2024"), "no problem in common: math500 against aime2024"),
        (samples([[True]], gold="35"), "problem p0: the gold answer is '36' in one evaluation and '35' in the other"),
        (
            samples([[True]]) + samples([[True]], strategy=RepairStrategy.FULL_REPLAN),
            "theirs has evaluated math500 under several repair strategies: none, full_replan",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(b, message):
    with pytest.raises(UserError, match=message):
        compared(samples([[True]]), b)


def test_strategies_may_differ_between_the_two():
    a = full_samples(6)
    b = [dataclasses.replace(row, strategy=RepairStrategy.ACTION_ONLY) for row in full_samples(6)]
    part = only(a, b)
    assert (part.strategy_a, part.strategy_b) == ("none", "action_only")


def test_a_comparison_comes_back_from_its_json_and_describes_every_field():
    report = compared(full_samples(8), full_samples(8, shift=2))
    assert ComparisonReport.model_validate_json(report.model_dump_json()) == report
    schema = ComparisonReport.model_json_schema()
    for name, model in (schema["$defs"] | {"ComparisonReport": schema}).items():
        for field, described in model["properties"].items():
            # A field that says no more than its type's own docstring refers to that.
            assert described.get("description") or "$ref" in described, f"{name}.{field}"
