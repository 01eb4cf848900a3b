"""Lists of rules as data, the release's own rules, and what two lists make of the same demonstrations."""

import dataclasses

import pytest
from pydantic import ValidationError

from tests.unit.demonstrations.examples import EXCEPTION, OK, demonstration
from thor_ray.config import TirgenConfig
from thor_ray.demonstrations import RULE_LISTS, Circumstances, build_rules, release_rules
from thor_ray.demonstrations.rule_list import RULE_NAMES, RuleSpec
from thor_ray.tirgen import filter_difference

SHORT = ("import math\nprint(math.gcd(96, 60))", OK)
LONG = ("\n".join(["# a comment", "", "import math", *(f"a{n} = {n}" for n in range(5)), "print(a4)"]), OK)


def thinking(text, **kwargs):
    """A demonstration whose whole response is ``text``."""
    return dataclasses.replace(demonstration(**kwargs), response=text)


REASONED = "<think>\nWe use it.\n```python\nprint(1)\n```\n```output\n1\n```\n</think>\nIt is \\boxed{12}."


@pytest.mark.parametrize(
    ("rule", "faulty", "reason"),
    [
        (release_rules.long_enough(), demonstration(), "too short"),
        (release_rules.mentions_box(), thinking("It is 12."), "no box"),
        (release_rules.no_failed_block(), demonstration(blocks=(("x", EXCEPTION), SHORT)), "a program failed"),
        (release_rules.no_traditional_chinese(), thinking("因為 12"), "traditional Chinese"),
        (release_rules.thinks_with_code(), thinking("<think>never closed ```python"), "no closed thinking part"),
        (release_rules.thinks_with_code(), thinking("<think>x</think>```python"), "no program while thinking"),
        (release_rules.few_short_blocks(), demonstration(blocks=(SHORT, SHORT)), "short programs"),
        (release_rules.few_short_blocks(), demonstration(blocks=(SHORT, SHORT, SHORT, LONG)), "short programs"),
        (release_rules.answers_after_thinking(), thinking("<think>x</think> \n"), "no answer after thinking"),
        (release_rules.answers_after_thinking(), thinking("It is 12."), "no answer after thinking"),
    ],
)
def test_the_releases_rules_reject_their_faults(rule, faulty, reason):
    assert rule.judge([faulty]) == [reason]


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        (release_rules.long_enough(tokens=50), demonstration()),
        (release_rules.mentions_box(), demonstration()),
        (release_rules.no_failed_block(), demonstration()),
        (release_rules.no_failed_block(), demonstration(blocks=())),
        (release_rules.no_traditional_chinese(), thinking("因为 12, naïve")),
        (release_rules.thinks_with_code(), thinking(REASONED)),
        (release_rules.few_short_blocks(), demonstration()),
        (release_rules.few_short_blocks(), demonstration(blocks=(SHORT, LONG))),
        (release_rules.few_short_blocks(), demonstration(blocks=(SHORT, SHORT, LONG, LONG))),
        (release_rules.answers_after_thinking(), thinking(REASONED)),
    ],
)
def test_the_releases_rules_let_the_faultless_pass(rule, good):
    assert rule.judge([good]) == [None]


@pytest.mark.parametrize("name", RULE_LISTS)
def test_the_lists_can_be_built_and_keep_their_order(name):
    rules = build_rules(RULE_LISTS[name], Circumstances(max_tokens=400))
    assert [rule.name for rule in rules] == [spec["rule"] for spec in RULE_LISTS[name]]
    assert len({rule.name for rule in rules}) == len(rules)


def test_parameters_reach_the_rule_and_the_run_gives_the_rest():
    circumstances = Circumstances(max_tokens=400, every_block=False, seed=7, overlaps={"p": "math500"})
    specs: list[RuleSpec] = [
        {"rule": "fits"},
        {"rule": "fits", "tokens": 30},
        {"rule": "code_passes"},
        {"rule": "one_per_problem"},
    ]
    parameters = [dict(rule.parameters) for rule in build_rules(specs, circumstances)]
    assert parameters == [{"max_tokens": 400}, {"max_tokens": 30}, {"every_block": False}, {"seed": 7}]
    (tests,) = build_rules([{"rule": "not_in_tests"}], circumstances)
    assert tests.judge([demonstration(), demonstration(problem="q")]) == ["in math500", None]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rule": "beautiful"}, "'beautiful' is no rule; there are no_stray_fence"),
        ({}, "None is no rule"),
        ({"rule": "no_repetition", "length": 3}, "rule no_repetition: .*length.*; it takes window, limit"),
        ({"rule": "balanced_calls"}, "rule balanced_calls: missing .*keep"),
        ({"rule": "uses_code", "often": True}, "it takes no parameters"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_is_allowed(spec, message):
    with pytest.raises(ValueError, match=message):
        build_rules([spec], Circumstances(max_tokens=1))
    with pytest.raises(ValidationError, match=r"tirgen\.filters"):
        TirgenConfig(filters=[spec])


def test_recipes_list_rules_about_single_demonstrations_only():
    assert TirgenConfig(filters=[{"rule": "no_repetition", "limit": 3}]).filters[0]["limit"] == 3
    with pytest.raises(ValidationError, match=r"one_per_problem is set by TIRGen itself"):
        TirgenConfig(filters=[{"rule": "one_per_problem"}])
    with pytest.raises(ValidationError, match=r"balanced_calls is set by tirgen\.keep_by_calls"):
        TirgenConfig(filters=[{"rule": "balanced_calls", "keep": {1: 0.5}}])


def test_every_rule_has_a_name_of_its_own_that_reports_show():
    required = {"balanced_calls": {"keep": {1: 0.5}}}
    for name in RULE_NAMES:
        (rule,) = build_rules([{"rule": name, **required.get(name, {})}], Circumstances(max_tokens=1))
        assert rule.name == name


def test_two_lists_on_the_same_demonstrations():
    both = thinking(REASONED, identity="both")
    ours = demonstration("ours")
    theirs = thinking(REASONED, identity="theirs", blocks=(("print(12)", OK),))
    neither = demonstration("neither", status="wrong")
    lists = [
        [{"rule": "substantial_code"}, {"rule": "answer_correct"}],
        [{"rule": "answer_correct"}, {"rule": "thinks_with_code"}, {"rule": "answers_after_thinking"}],
    ]
    first, second = (build_rules(specs, Circumstances(max_tokens=400)) for specs in lists)
    difference = filter_difference([both, ours, theirs, neither], first, second)
    assert (difference.total, difference.both, difference.neither) == (4, 1, 1)
    assert difference.only_first.ids == ("ours",)
    assert difference.only_first.reasons == {
        "thinks_with_code: no closed thinking part": 1,
        "answers_after_thinking: no answer after thinking": 1,
    }
    assert difference.only_second.examples == (("theirs", "substantial_code: trivial code"),)
    assert difference.to_json()["only_second"]["count"] == 1


def test_a_draw_among_what_was_left_is_named_as_such():
    several = [demonstration(f"a{number}") for number in range(4)] + [demonstration("b", status="wrong")]
    draw = build_rules([{"rule": "one_per_problem"}], Circumstances(max_tokens=400, seed=1))
    everything = build_rules([{"rule": "boxed"}], Circumstances(max_tokens=400))
    difference = filter_difference(several, everything, draw)
    assert difference.only_first.reasons == {"one_per_problem: another one was drawn": 4}
