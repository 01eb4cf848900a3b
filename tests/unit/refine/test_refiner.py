"""What the refiner keeps of a step, what it drops, and which programs it drafts."""

import ast
import inspect
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.worked import claim_lines
from thor_ray.problems import FAMILIES, LEVELS, generate
from thor_ray.refine import OperationKind, Refinement, Refiner, SymbolicRefiner, Verdict
from thor_ray.refine.refiner import MAX_STEP_CHARACTERS, NEXT_PLAN
from thor_ray.refine.styles import STYLES, Style

SENTINEL = "918273645918"
"""A hand-made result that no operand can equal."""


def refine(step: str, seed: int = 0, refiner: SymbolicRefiner | None = None) -> Refinement:
    """Runs the coroutine, which never waits."""
    coroutine = (refiner or SymbolicRefiner()).refine(step, seed)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        refinement: Refinement = finished.value
        return refinement
    raise AssertionError("the symbolic refiner waited for something")


def test_a_step_without_a_claim_is_kept_word_for_word():
    refinement = refine("The numbers are 96 and 60, and we want their gcd.")
    assert refinement == Refinement(Verdict.NO_CLAIM, "The numbers are 96 and 60, and we want their gcd.")


def test_a_step_that_is_nothing_but_a_claim_leaves_no_reasoning():
    refinement = refine("gcd(96, 60) = 12")
    assert refinement.verdict is Verdict.CODABLE
    assert refinement.reasoning == ""
    assert "96, 60" in refinement.drafts[-1].code


def test_prose_keeps_the_computation_but_not_its_result():
    refinement = refine("He sold 12 * 7 = <<12*7=84>>84 apples that day.")
    assert refinement.reasoning == "He sold 12 * 7 apples that day."
    assert refinement.rest == ""


def test_what_restates_the_result_comes_after_the_program():
    refinement = refine("We find gcd(96, 60) = 12, so the answer is \\boxed{12}.")
    assert refinement.reasoning == "We find gcd(96, 60)"
    assert refinement.rest == ", so the answer is \\boxed{12}."


def test_a_second_claim_waits_for_the_first_ones_value():
    refinement = refine("It costs 3 * 4 = 12 dollars, and with tax 12 + 2 = 14 dollars.")
    assert refinement.reasoning == "It costs 3 * 4 dollars,"
    assert refinement.rest == "and with tax 12 + 2 = 14 dollars."


def test_a_computation_that_no_style_ends_in_good_time_is_left_alone():
    step = "count of multiples of 7 from 10 to 99999999999999 = 27"
    assert refine(step) == Refinement(Verdict.NO_STYLE, step)
    assert refine("9" * (MAX_STEP_CHARACTERS + 1)).verdict is Verdict.TOO_LONG


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wrapping", ["{}", "So we see that {} here."])
def test_the_hand_made_result_reaches_neither_thought_nor_program(family, wrapping):
    imitator = SymbolicRefiner(flawed_first=0.7, flawed_again=0.7)
    for seed, problem in enumerate(generate([family], LEVELS, 30, seed=4, split="train")):
        for line in claim_lines(problem):
            step = wrapping.format(f"{line.rpartition('=')[0]}= {SENTINEL}")
            refinement = refine(step, seed, imitator)
            assert refinement.claim is not None
            assert refinement.claim.result == SENTINEL
            written = [refinement.reasoning, *(draft.plan + draft.code for draft in refinement.drafts)]
            assert not any(SENTINEL in text for text in written)


@given(st.text(max_size=200), st.integers(0, 3))
def test_any_step_is_refined_the_same_way_for_the_same_seed(step, seed):
    assert refine(step, seed) == refine(step, seed)


def test_other_seeds_choose_other_styles():
    plans = {refine("gcd(96, 60) = 12", seed).drafts[0].plan for seed in range(60)}
    assert plans == {f"We use {style.tool}.\n" for style in STYLES[OperationKind.GCD] if not style.flawed}


def test_a_refiner_that_imitates_nobody_drafts_one_right_program():
    for seed in range(50):
        (draft,) = refine("tau(360) = 24", seed).drafts
        assert not _style_of(draft.plan, OperationKind.DIVISOR_COUNT).flawed


def test_shares_of_flawed_drafts_are_as_asked_and_the_last_draft_is_right():
    imitator = SymbolicRefiner(flawed_first=0.6, flawed_again=0.7)
    lengths: Counter[int] = Counter()
    for seed in range(4000):
        drafts = refine("tau(360) = 24", seed, imitator).drafts
        lengths[len(drafts)] += 1
        styles = [_style_of(draft.plan, OperationKind.DIVISOR_COUNT) for draft in drafts]
        assert [style.flawed for style in styles] == [True] * (len(drafts) - 1) + [False]
        assert len(set(styles)) == len(styles)
        assert all(draft.plan.startswith(NEXT_PLAN.split("{")[0]) for draft in drafts[1:])
    assert lengths[1] / 4000 == pytest.approx(0.4, abs=0.03)
    assert lengths[3] / (4000 - lengths[1]) == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_outside_zero_and_one_are_refused(share):
    with pytest.raises(ValueError, match="flawed_again"):
        SymbolicRefiner(flawed_again=share)


def test_a_refiner_can_see_the_step_alone():
    assert list(inspect.signature(Refiner.refine).parameters) == ["self", "step", "seed"]
    assert list(inspect.signature(SymbolicRefiner.refine).parameters) == ["self", "step", "seed"]


@pytest.mark.parametrize("kind", STYLES)
def test_a_thought_names_its_program(kind):
    tools = [style.tool for style in STYLES[kind]]
    assert len(set(tools)) == len(tools)
    assert sum(not style.flawed for style in STYLES[kind]) >= 2
    assert sum(style.flawed for style in STYLES[kind]) >= 3, "two failures in a row need two styles and some choice"


@given(st.sampled_from(list(FAMILIES)), st.integers(0, 10**6))
def test_right_programs_parse(family, seed):
    rng = Random(seed)
    (problem,) = generate([family], [rng.choice(LEVELS)], 1, seed=seed, split="train")
    for line in claim_lines(problem):
        assert ast.parse(refine(line, seed).drafts[-1].code).body


def _style_of(plan: str, kind: OperationKind) -> Style:
    tool = plan.partition("We use ")[2].removesuffix(".\n")
    (style,) = [style for style in STYLES[kind] if style.tool == tool]
    return style


@pytest.mark.parametrize(
    ("step", "reasoning", "conclusion", "rest"),
    [
        # The unit that is repeated goes with the result.
        ("They used 6 gallons + 3 gallons = 9 gallons of gas.", "They used 6 gallons + 3 gallons of gas.", "", ""),
        # A boxed result is the answer, in a formula that stays whole.
        (r"Thus $n=201-53+1=\boxed{149}$.", "Thus $n=201-53+1$.", r"The answer is $\boxed{149}$.", ""),
        # The stated solution of an equation follows its program, and is not refined again.
        (
            r"Now $3x+36=180$, so $3x=144$ and $x=\boxed{48}$. Then $48+2=50$.",
            "Now $3x+36=180$,",
            r"so $3x=144$ and $x=\boxed{48}$.",
            "Then $48+2=50$.",
        ),
        # A statement becomes a question.
        ("We factor. Since 91 is divisible by 7, we divide.", "We factor. Is 91 divisible by 7?", None, ""),
        # Sentences are better borders than commas.
        ("It is 3 * 4 = 12. Next, that is 12 + 2 = 14.", "It is 3 * 4.", "", "Next, that is 12 + 2 = 14."),
        # The answer waits for the program.
        (
            r"As $1 - \frac{1}{4} = \frac{3}{4}$, $x$ is $\boxed{9}$.",
            r"As $1 - \frac{1}{4}$,",
            "",
            r"$x$ is $\boxed{9}$.",
        ),
        # A claim that comes too late is passed over for the next one.
        ("He needs 40 as 4 * 10 = 40. Then 3 * 5 = 15.", "He needs 40 as 4 * 10 = 40. Then 3 * 5.", "", ""),
    ],
)
def test_what_comes_before_the_program_after_it_and_later(step, reasoning, conclusion, rest):
    refinement = refine(step)
    assert refinement.reasoning == reasoning
    assert refinement.conclusion == ("Since 91 is divisible by 7, we divide." if conclusion is None else conclusion)
    assert refinement.rest == rest


def test_a_result_that_is_read_before_its_computation_leaves_nothing_to_a_program():
    step = "He needs 40 ounces because 4 * 10 = 40."
    assert refine(step) == Refinement(Verdict.STATED_BEFORE, step)
