"""Each alarm rings for what it names, in plain words, once, and not in a run that goes well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.alarms import RULES, AlarmBell, alarms
from thor_ray.metrics_registry import unregistered
from thor_ray.run_directory import MetricsLine

HEALTHY = {
    "reward": 0.6,
    "episodes": 128,
    "calls": 1.5,
    "infra_errors": 0,
    "code_ratio": 0.98,
    "code/timeout": 0.01,
    "grade/no_box": 0.2,
    "grade/timeout": 0.0,
    "grade/error": 0.0,
    "finish/length": 0.02,
    "learner/skipped": 0.0,
    "learner/mismatch_kl": 1e-4,
    "learner/effective_samples": 0.97,
}


def line(number, metrics, attempt=1, stage="rl"):
    return MetricsLine(f"2026-01-01T00:00:{number:02d}+00:00", attempt, stage, number, metrics)


def history(*changes, healthy=6):
    """Healthy rounds, and then one round for each set of changed figures."""
    return [line(n, HEALTHY) for n in range(healthy)] + [
        line(healthy + n, {**HEALTHY, **change}) for n, change in enumerate(changes)
    ]


def test_a_healthy_run_rings_nothing():
    assert alarms(history()) == []
    # As the smoke learns: within thirty rounds, boxes and rewards rise together.
    rising = [{"reward": 0.6 + 0.01 * n, "grade/no_box": 0.35 - 0.01 * n} for n in range(30)]
    assert alarms(history(*rising)) == []
    assert unregistered("rl", HEALTHY) == []


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ([{"code_ratio": 0.02}] * 3, "tool_calls_stopped", "the policy has stopped calling the tool: 2 % of the"),
        (
            [{"reward": 0.9, "grade/no_box": 0.02}] * 3,
            "reward_jumped_by_format",
            "reward jumped while no_box fell: reward from 0.60 to 0.90, answers without a box from 20 % to 2 %",
        ),
        ([{"reward": 0.1}] * 3, "reward_collapsed", "the reward has collapsed: 0.10, after 0.60"),
        ([{"learner/skipped": 0.5}], "updates_skipped", "50 % of the updates were skipped"),
        ([{"learner/mismatch_kl": 0.1}] * 3, "learner_disagrees", "engine and learner disagree: 0.100 nats"),
        ([{"weights/logprob_gap": None}], "gap_not_finite", "no finite log-probs"),
        ([{"learner/effective_samples": 0.1}] * 3, "samples_stale", "samples are stale: importance weights leave 10 %"),
        ([{"infra_errors": 48}], "sandbox_fails", "the sandbox fails: 48 of 240 programs"),
        ([{"grade/timeout": 0.04, "grade/error": 0.02}], "grader_fails", "4 % timeout and 2 % error"),
        ([{"code/timeout": 0.5}] * 3, "programs_time_out", "programs hang: 50 %"),
        ([{"finish/length": 0.7}] * 3, "cut_off", "episodes are cut off: 70 %"),
    ],
)
def test_each_alarm_rings_for_what_it_names(changes, kind, words):
    (alarm,) = alarms(history(*changes))
    assert alarm.kind == kind
    assert words in alarm.sentence
    assert alarm.standing


def test_two_rounds_without_an_update_say_why():
    nothing = {name: value for name, value in HEALTHY.items() if not name.startswith("learner/")}
    rounds = [line(n, {**nothing, "dropped/zero_variance": 14, "dropped/too_few_survivors": 2}) for n in range(2)]
    assert alarms(rounds[:1]) == []
    (alarm,) = alarms(rounds)
    reasons = "14 zero_variance, 2 too_few_survivors"
    assert alarm.sentence == f"round 1: nothing was learnt: every group was dropped ({reasons})"


def test_every_rule_is_tried_here():
    tried = {mark.args[1][n][1] for mark in test_each_alarm_rings_for_what_it_names.pytestmark for n in range(11)}
    assert tried | {"nothing_learnt"} == set(RULES)


def test_a_reward_that_rises_because_answers_are_right_is_no_format():
    assert alarms(history(*[{"reward": 0.95, "grade/no_box": 0.15}] * 3)) == []


def test_rounds_in_a_row_are_one_alarm_that_ends_with_them():
    (alarm,) = alarms(history({"infra_errors": 48}, {"infra_errors": 96}, {}))
    assert (alarm.first_round, alarm.last_round, alarm.standing) == (6, 7, False)
    assert alarm.sentence.startswith("rounds 6–7: the sandbox fails: 96 of")
    again = alarms(history({"infra_errors": 48}, {}, {"infra_errors": 48}))
    assert [each.first_round for each in again] == [6, 8]


def test_figures_of_other_stages_ring_nothing():
    assert (
        alarms(line(n, {"infra_errors": 100, "episodes": 1, "calls": 1}, stage="evaluate_rl") for n in range(5)) == []
    )


def test_the_bell_says_each_alarm_once_and_not_what_rang_before_it_was_hung():
    said: list[str] = []
    bad = {"infra_errors": 48}
    bell = AlarmBell(history(bad), said.append)
    for each in history(bad, bad, {}, bad, bad)[7:]:
        bell.log(each)
    assert said == ["round 9: the sandbox fails: 48 of 240 programs were not run, which says nothing about the policy"]


def test_the_bell_looks_at_a_round_as_the_resumed_run_did_it():
    said: list[str] = []
    bell = AlarmBell(history({"code_ratio": 0.0}, {"code_ratio": 0.0}), said.append)
    for number in (6, 7, 8):
        bell.log(line(number, HEALTHY, attempt=2))
    assert said == []


figure = st.none() | st.floats(0, 1)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(HEALTHY)), figure), max_size=12))
def test_whatever_is_missing_the_bell_and_the_history_agree(rounds):
    lines = [line(number, metrics) for number, metrics in enumerate(rounds)]
    said: list[str] = []
    bell = AlarmBell([], said.append)
    for each in lines:
        bell.log(each)
    found = alarms(lines)
    assert len(said) == len(found)
    assert {alarm.kind for alarm in found if alarm.standing} == set(bell._latest())
