"""Each figure means what its definition says, and the interval covers the truth as often as it claims."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.claims import Claim, Relation, learning_claims, weight_claims
from thor_ray.metrics import (
    cached_share,
    clustered_interval,
    code_statistics,
    evaluation_statistics,
    round_metrics,
    wilson_interval,
)
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
)

OK, FAILED, LOST = ExecutionStatus.OK, ExecutionStatus.EXCEPTION, ExecutionStatus.INFRA_ERROR


def trajectory(
    problem: str = "p",
    statuses: tuple[ExecutionStatus, ...] = (),
    grade: str | None = "correct",
    finish: FinishReason = FinishReason.ANSWERED,
    discarded: int = 0,
    reward: float | None = None,
) -> Trajectory:
    builder = TrajectoryBuilder("t", problem, [1])
    for status in statuses:
        builder.append_sampled(SpanKind.THOUGHT, [2], [-0.5], 0)
        action = builder.append_sampled(SpanKind.ACTION, [3, 4], [-0.5, -0.5], 0)
        seen = builder.append_written(SpanKind.OBSERVATION, [5])
        builder.close_step(action, seen, "print(1)", ExecutionResult(status, "1"))
    for _ in range(discarded):
        builder.append_sampled(SpanKind.THOUGHT, [6], [-0.5], 0)
        builder.cut_back(len(builder) - 1, 0, "x", ExecutionResult(FAILED, ""))
    builder.append_sampled(SpanKind.ANSWER, [7], [-0.5], 0)
    builder.cost.generated_tokens = 3 * len(statuses) + 1 + discarded
    return builder.finish(finish, "1", grade, reward)


def test_pass_at_1_is_the_share_of_correct_samples():
    samples = [trajectory("a"), trajectory("a", grade="wrong"), trajectory("b", grade="no_box"), trajectory("b")]
    figures = evaluation_statistics(samples)
    assert figures.pass_at_1 == 0.5
    assert (figures.problems, figures.samples_per_problem, figures.excluded) == (2, 2, 0)
    assert figures.grades == {"correct": 2, "no_box": 1, "wrong": 1}


def test_what_we_failed_is_neither_right_nor_wrong():
    samples = [trajectory("a"), trajectory("a", grade="error"), trajectory("a", finish=FinishReason.ABORTED)]
    figures = evaluation_statistics(samples)
    assert figures.pass_at_1 == 1
    assert figures.excluded == 2
    assert figures.finish == {"answered": 2, "aborted": 1}
    with pytest.raises(ValueError, match="none of 1 trajectories can be judged"):
        evaluation_statistics([trajectory(grade="error")])


def test_the_code_pass_rate_is_undefined_without_code():
    figures = evaluation_statistics([trajectory()])
    assert figures.code_pass_rate is None
    assert figures.code_ratio == 0


def test_infrastructure_errors_are_no_executions():
    code = code_statistics([trajectory(statuses=(OK, FAILED, LOST)), trajectory(statuses=(LOST,)), trajectory()])
    assert (code.calls, code.failed_calls, code.infra_errors) == (2, 1, 2)
    assert code.pass_rate == code.failing_share == 0.5
    assert code.code_ratio == 1 / 3


def test_discarded_attempts_do_not_count_against_the_pass_rate():
    figures = evaluation_statistics([trajectory(statuses=(OK,), discarded=3)])
    assert figures.code_pass_rate == 1
    assert figures.discarded_attempts == 3
    assert (figures.kept_tokens, figures.discarded_tokens) == (4, 3)


def test_inherited_steps_belong_to_the_parent():
    parent = trajectory(statuses=(FAILED, FAILED))
    branch = TrajectoryBuilder.branch("b", parent, 1, parent.steps[1].thought.end).finish(FinishReason.STEP_DONE)
    assert len(branch.steps) == 1
    assert code_statistics([branch]).calls == 0


outcomes = st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=20)


@given(outcomes)
def test_the_interval_holds_the_estimate_and_lies_within_0_and_1(samples):
    low, high = clustered_interval(samples)
    share = sum(map(sum, samples)) / sum(map(len, samples))
    assert 0 <= low <= share <= high <= 1
    assert low < high


@given(outcomes)
def test_the_interval_is_no_narrower_than_for_independent_samples(samples):
    total = sum(map(len, samples))
    low, high = clustered_interval(samples)
    independent = wilson_interval(sum(map(sum, samples)) / total, total)
    assert high - low >= independent[1] - independent[0] - 1e-12


def test_repeating_every_sample_adds_no_confidence():
    samples = [[True], [False], [True], [True], [False]]
    repeated = [outcome * 4 for outcome in samples]
    assert clustered_interval(repeated) == pytest.approx(clustered_interval(samples))


def test_an_all_wrong_evaluation_still_has_an_interval():
    low, high = clustered_interval([[False] * 4] * 64)
    assert low == 0
    assert high == pytest.approx(0.0566, abs=1e-3)
    with pytest.raises(ValueError, match="needs samples"):
        clustered_interval([])


@pytest.mark.parametrize(("mean", "spread"), [(0.45, 1.0), (0.45, 30.0), (0.9, 2.0), (0.97, 4.0)])
def test_the_interval_covers_the_truth_about_95_times_in_100(mean, spread):
    """200 problems × 4 samples, the problems' difficulties drawn from a beta distribution."""
    random = np.random.default_rng(5)
    runs, covered = 1000, 0
    for _ in range(runs):
        difficulty = random.beta(mean * spread, (1 - mean) * spread, size=200)
        drawn = random.random((200, 4)) < difficulty[:, None]
        low, high = clustered_interval(drawn.tolist())
        covered += low <= mean <= high
    assert 0.925 <= covered / runs <= 0.975


def test_round_metrics_tell_the_levels_apart():
    episodes = (
        trajectory(statuses=(OK,), reward=1.0),
        trajectory(statuses=(FAILED,), grade="wrong", reward=0.0),
        trajectory(statuses=(LOST,), finish=FinishReason.ABORTED, grade=None),
    )
    steps = (trajectory(statuses=(OK,), grade=None, finish=FinishReason.STEP_DONE, reward=1.0),)
    groups = [
        Group("e0", GroupKind.EPISODE, "p", episodes[:2]),
        Group("e1", GroupKind.EPISODE, "p", episodes[2:], "too_few_survivors"),
        Group("s0", GroupKind.STEP, "p", steps),
    ]
    figures = round_metrics(groups, seconds=2.0)
    assert figures["reward"] == figures["correct"] == figures["failing_share"] == 0.5
    assert figures["step_reward"] == 1.0
    assert (figures["episodes"], figures["steps"], figures["infra_errors"]) == (3, 1, 1)
    assert figures["tokens_per_second"] == 16 / 2
    assert figures["finish/answered"] == pytest.approx(2 / 3)
    assert figures["dropped/too_few_survivors"] == 1


def test_a_round_without_trajectories_has_undefined_figures_rather_than_zeros():
    figures = round_metrics([], seconds=0.0)
    assert figures["reward"] is figures["failing_share"] is figures["tokens_per_second"] is None
    assert figures["episodes"] == 0


def test_the_cached_share_is_of_all_prompt_tokens_together():
    small, large, uncounted = trajectory(), trajectory(), trajectory()
    small.cost.prompt_tokens, small.cost.cached_tokens = 10, 0
    large.cost.prompt_tokens, large.cost.cached_tokens = 90, 80
    assert cached_share([small, large, uncounted]) == 0.8
    assert evaluation_statistics([small, large]).cached_share == 0.8
    assert cached_share([uncounted]) is None is uncounted.cost.cached_share
    figures = round_metrics(
        [Group("e", GroupKind.EPISODE, "p", (small,)), Group("s", GroupKind.STEP, "p", (large,))], seconds=1.0
    )
    assert figures["cached_share"] == 0
    assert figures["step_cached_share"] == pytest.approx(8 / 9)


WEIGHTS = {"published": 31, "verified": 31, "max_logprob_gap": 2e-6}
STAGES = {
    "cold_start": {"pass_at_1": 0.45, "code_pass_rate": 0.7},
    "rl": {"pass_at_1": 0.70, "code_pass_rate": 0.97},
    "rl_self_correction": {"pass_at_1": 0.71, "code_pass_rate": 0.99},
}


def test_the_smoke_claims_hold_when_everything_went_well():
    assert all(claim.holds for claim in (*learning_claims(STAGES), *weight_claims(WEIGHTS)))


@pytest.mark.parametrize(
    ("stage", "figure", "value", "broken"),
    [
        ("rl", "pass_at_1", 0.54, "lifts pass@1"),
        ("rl", "code_pass_rate", 0.84, "failing code blocks"),
        ("cold_start", "code_pass_rate", None, "failing code blocks"),
        ("rl_self_correction", "code_pass_rate", 0.9699, "with self-correction"),
    ],
)
def test_a_smoke_claim_fails_alone(stage, figure, value, broken):
    stages = {**STAGES, stage: {**STAGES[stage], figure: value}}
    failed = [claim.name for claim in learning_claims(stages) if not claim.holds]
    assert len(failed) == 1
    assert broken in failed[0]


@pytest.mark.parametrize(
    "weights",
    [
        {"published": 31, "verified": 30, "max_logprob_gap": 0.0},
        {"published": 3, "verified": 3, "max_logprob_gap": 2e-3},
    ],
)
def test_weights_that_were_not_verified_break_a_claim(weights):
    assert sum(not claim.holds for claim in weight_claims(weights)) == 1


def test_a_run_without_weights_or_stages_claims_nothing():
    claims = [*learning_claims({}), *weight_claims({"published": 0, "verified": 0, "max_logprob_gap": None})]
    assert len(claims) == 5
    assert not any(claim.holds for claim in claims)
    assert Claim("x", 1.0, Relation.AT_MOST, 1.0).holds
