"""Choices are the same in whatever order the candidates come, and go by what their method says (spec F.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.evaluation.selection import Candidate, Criterion, Method, NoCode, choose, decide, self_reward

one_candidate = st.tuples(
    st.one_of(st.none(), st.integers(0, 3)),  # class of the answer
    st.integers(0, 3),  # blocks that ran
    st.integers(0, 3),  # blocks that failed on top
    st.sampled_from([0.0, 0.5, 1.0]),  # score
)
candidate_lists = st.lists(one_candidate, min_size=1, max_size=8).map(
    lambda rows: [
        Candidate(index=index, answer_class=name, executed=good + bad, failed=bad, external_score=score)
        for index, (name, good, bad, score) in enumerate(rows)
    ]
)


def candidate(index: int, answer: int | None = None, code: tuple[int, int] = (0, 0), score: float | None = None):
    return Candidate(index=index, answer_class=answer, executed=code[0], failed=code[1], external_score=score)


@given(candidate_lists, st.sampled_from(Method), st.sampled_from(NoCode), st.randoms(use_true_random=False))
def test_the_order_of_candidates_plays_no_part(candidates, method, no_code, random):
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose(shuffled, method, no_code) == choose(candidates, method, no_code)


@given(candidate_lists, st.sampled_from(Method))
def test_nobody_beats_the_chosen_one(candidates, method):
    chosen = choose(candidates, method)
    rewards = [self_reward(one) for one in candidates]
    if method.needs_code:
        assert self_reward(chosen) == max(rewards)
    if method is Method.EXTERNAL:
        assert chosen.external_score == max(one.external_score for one in candidates)
    if method is Method.SELF_REWARDED_EXTERNAL:
        tied = [one.external_score for one in candidates if self_reward(one) == max(rewards)]
        assert chosen.external_score == max(tied)
    if method is Method.SELF_CONSISTENCY:
        votes = [one.answer_class for one in candidates if one.answer_class is not None]
        if votes:
            assert votes.count(chosen.answer_class) == max(map(votes.count, votes))
        else:
            assert chosen.index == 0


@given(candidate_lists, st.sampled_from(Method))
def test_the_answer_does_not_depend_on_names_of_classes(candidates, method):
    renamed = [
        Candidate(
            index=one.index,
            answer_class=None if one.answer_class is None else 9 - one.answer_class,
            executed=one.executed,
            failed=one.failed,
            external_score=one.external_score,
        )
        for one in candidates
    ]
    assert choose(renamed, method).index == choose(candidates, method).index


def test_ties_of_code_go_to_the_majority_then_to_the_first():
    tied = [candidate(0, 7, (2, 0)), candidate(1, 8, (1, 0)), candidate(2, 8, (3, 0)), candidate(3, 7, (2, 1))]
    assert choose(tied, Method.SELF_REWARDED).index == 1
    assert choose(tied[:2], Method.SELF_REWARDED).index == 0
    assert choose([candidate(0, None, (1, 0)), candidate(1, 8, (1, 0))], Method.SELF_REWARDED).index == 1


def test_the_majority_is_of_answers_and_its_tie_goes_to_the_first():
    assert choose([candidate(0, 1), candidate(1, 2), candidate(2, 2)], Method.SELF_CONSISTENCY).index == 1
    assert (
        choose([candidate(0, 3), candidate(1, 2), candidate(2, 2), candidate(3, 3)], Method.SELF_CONSISTENCY).index == 0
    )
    assert choose([candidate(0, None), candidate(1, None), candidate(2, 2)], Method.SELF_CONSISTENCY).index == 2


def test_scores_and_code_break_each_others_ties():
    candidates = [
        candidate(0, 0, (1, 1), score=0.9),
        candidate(1, 1, (1, 0), score=0.9),
        candidate(2, 2, (1, 0), score=0.1),
    ]
    assert choose(candidates, Method.EXTERNAL).index == 1
    assert choose(candidates, Method.SELF_REWARDED_EXTERNAL).index == 1
    assert choose([candidate(0, 0, score=None), candidate(1, 1, score=-5.0)], Method.EXTERNAL).index == 1


@pytest.mark.parametrize(("no_code", "chosen"), [(NoCode.AFTER_PERFECT, 0), (NoCode.AS_PERFECT, 0), (NoCode.LAST, 0)])
def test_code_that_all_passed_is_never_behind_no_code(no_code, chosen):
    assert choose([candidate(0, 0, (1, 0)), candidate(1, 1)], Method.SELF_REWARDED, no_code).index == chosen


@pytest.mark.parametrize(
    ("no_code", "over_failure", "over_perfect"),
    [(NoCode.AFTER_PERFECT, True, False), (NoCode.AS_PERFECT, True, True), (NoCode.LAST, False, False)],
)
def test_a_candidate_without_code_ranks_where_it_is_told_to(no_code, over_failure, over_perfect):
    silent, failing, perfect = candidate(0, 0), candidate(1, 1, (4, 1)), candidate(2, 2, (1, 0))
    assert (choose([silent, failing], Method.SELF_REWARDED, no_code) is silent) is over_failure
    assert (choose([silent, perfect], Method.SELF_REWARDED, no_code) is silent) is over_perfect


@given(candidate_lists, st.sampled_from(Method), st.sampled_from(NoCode))
def test_each_round_leaves_some_of_those_before_and_the_last_one_the_chosen(candidates, method, no_code):
    decision = decide(candidates, method, no_code)
    left = {one.index for one in candidates}
    for compared in decision.rounds:
        assert len(left) > 1, "nothing was left to compare"
        assert set(compared.left) <= left
        left = set(compared.left)
    assert left == {decision.chosen.index}
    assert decision.chosen == choose(candidates, method, no_code)


def test_a_decision_tells_its_rounds():
    tied = [candidate(0, 1, (2, 0)), candidate(1, 0, (2, 0)), candidate(2, 0, (1, 0)), candidate(3, 0, (1, 1))]
    decision = decide(tied, Method.SELF_REWARDED)
    assert [(one.criterion, one.left) for one in decision.rounds] == [
        (Criterion.CODE_SUCCESS, (0, 1, 2)),
        (Criterion.MAJORITY, (1, 2)),
        (Criterion.ORDER, (1,)),
    ]
    assert decide(tied[:1], Method.SELF_REWARDED).rounds == ()


def test_what_cannot_be_chosen_from_is_refused():
    with pytest.raises(ValueError, match="must exist"):
        choose([], Method.SELF_CONSISTENCY)
    with pytest.raises(ValueError, match="different indices"):
        choose([candidate(1), candidate(1)], Method.SELF_CONSISTENCY)
    with pytest.raises(ValueError, match="needs the executions"):
        choose([Candidate(index=0, answer_class=None)], Method.SELF_REWARDED)
    assert choose([Candidate(index=0, answer_class=None)], Method.SELF_CONSISTENCY).index == 0
