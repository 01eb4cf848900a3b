"""Revisions that say something else than their step are told from those that do not."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.refine import Verdict
from thor_ray.refine.revision_checks import (
    RevisionChecks,
    common_length,
    computes,
    new_names,
    new_numbers,
    numbers_in,
    similarity,
)

STEP = "Anna buys twelve boxes of 1,500 pins, so she has 12 * 1500 = 18000 pins in all."
PROSE = "Anna buys twelve boxes of 1,500 pins, so she has\n"
PROGRAM = "boxes, pins = 12, 1500\nprint(boxes * pins)"
WORDS = st.lists(st.sampled_from("abc"), max_size=12)


def slow_common_length(first, second):
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return slow_common_length(first[:-1], second[:-1]) + 1
    return max(slow_common_length(first[:-1], second), slow_common_length(first, second[:-1]))


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_the_common_subsequence_is_the_longest(first, second):
    assert common_length(first, second) == slow_common_length(first, second)


@given(WORDS, WORDS)
def test_similarity_is_a_share_that_swaps_with_its_texts(first, second):
    forth = similarity(" ".join(first), " ".join(second))
    back = similarity(" ".join(second), " ".join(first))
    assert forth == back[::-1]
    assert all(0 <= share <= 1 for share in forth)
    assert similarity(" ".join(first), " ".join(first)) == (1, 1)


def test_a_faithful_revision_passes():
    assert RevisionChecks().objection(STEP, f"{PROSE}pins in all.", [PROGRAM], ["18000"]) is None


@pytest.mark.parametrize(
    ("prose", "program", "verdict", "reason"),
    [
        (
            "We use another idea and look at remainders instead.",
            PROGRAM,
            Verdict.REASONING_CHANGED,
            "come from the step",
        ),
        ("Anna buys", PROGRAM, Verdict.REASONING_CHANGED, "are left"),
        (f"{PROSE}Then 77 are left.", PROGRAM, Verdict.NEW_NUMBERS, "not in the step: 77"),
        (PROSE, "print(12 * 1500 + 4321)", Verdict.NEW_NUMBERS, "not in the step: 4321"),
        (f"{PROSE}pins, and Bert has none.", PROGRAM, Verdict.NEW_NAMES, "not in the step: Bert"),
        (f"{PROSE}z pins in all.", PROGRAM, Verdict.NEW_NAMES, "not in the step: z"),
    ],
)
def test_another_reasoning_is_refused_by_name(prose, program, verdict, reason):
    found = RevisionChecks().objection(STEP, prose, [program], ["18000"])
    assert found is not None
    assert found[0] is verdict
    assert reason in found[1]


def test_limits_are_limits():
    prose = f"{PROSE}Then 77 are left for Bert."
    assert (
        RevisionChecks(min_kept=0.6, max_new_numbers=1, max_new_names=1).objection(STEP, prose, [PROGRAM], []) is None
    )
    assert RevisionChecks(min_kept=0.6, max_new_names=1).objection(STEP, prose, [PROGRAM], []) is not None
    assert RevisionChecks(min_kept=0.99).objection(STEP, f"{PROSE}perhaps", [PROGRAM], []) is not None


def test_numbers_are_compared_by_value_and_may_be_spelt():
    assert numbers_in("1,500 and 1500.0, .5 or 1,2") == {Fraction(1500), Fraction(1, 2), Fraction(1), Fraction(2)}
    assert new_numbers("a dozen of them", "", ["print(12 ** 2)"], []) == set()
    assert new_numbers("a dozen of them", "13", ["print(14)"], ["13"]) == {Fraction(14)}


def test_a_capital_at_the_start_of_a_sentence_is_no_name():
    assert new_names("the sum", "Now. Then the sum. Let Python find Carl") == {"Carl"}


@pytest.mark.parametrize(
    ("program", "does"),
    [
        ("print(84)", False),
        ("x = 84\nprint(x)", False),
        ("print('84')", False),
        ("print(", False),
        ("print(12 * 7)", True),
        ("import math\nprint(math.gcd(96, 60))", True),
        ("print([n for n in (1, 2)])", True),
    ],
)
def test_a_program_that_prints_what_it_was_given_computes_nothing(program, does):
    assert computes(program) is does
