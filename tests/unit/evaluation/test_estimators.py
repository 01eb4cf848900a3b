"""Each estimator equals the average over all subsets that it stands for, whatever the order of the samples."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thor_ray.evaluation.estimators import majority_at_k, pass_at_k, sizes_up_to

outcomes = st.lists(st.booleans(), min_size=1, max_size=9)
voters = st.lists(st.tuples(st.sampled_from([None, 0, 1, 2, 3]), st.booleans()), min_size=1, max_size=8)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@given(outcomes, st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(correct, data):
    k = data.draw(st.integers(1, len(correct)))
    subsets = [float(any(subset)) for subset in combinations(correct, k)]
    assert pass_at_k(len(correct), sum(correct), k) == pytest.approx(mean(subsets), abs=1e-12)


@given(outcomes)
def test_pass_at_1_is_the_share_of_correct_samples(correct):
    assert pass_at_k(len(correct), sum(correct), 1) == pytest.approx(mean([float(one) for one in correct]), abs=1e-15)


@given(st.integers(1, 200), st.data())
def test_pass_at_k_grows_with_k_and_with_correct_samples(samples, data):
    correct = data.draw(st.integers(0, samples))
    values = [pass_at_k(samples, correct, k) for k in range(1, samples + 1)]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)
    assert values[-1] == (correct > 0)
    if correct < samples:
        assert pass_at_k(samples, correct + 1, 1) > values[0]


def test_pass_at_k_stays_exact_where_floats_would_overflow():
    assert pass_at_k(5000, 1, 2500) == pytest.approx(0.5, abs=1e-12)
    assert pass_at_k(5000, 4000, 2500) == 1


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5), (0, 0, 1)])
def test_pass_at_k_refuses_what_makes_no_sense(samples, correct, k):
    with pytest.raises(ValueError, match="samples"):
        pass_at_k(samples, correct, k)


def voted(subset: tuple[tuple[int | None, float], ...]) -> float:
    """The majority of one subset by hand; a tie by share."""
    votes = Counter(name for name, _ in subset if name is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    worth = dict(subset)
    return mean([worth[name] for name in votes if votes[name] == most])


def worth_of_classes(voters: list[tuple[int | None, bool]]) -> dict[int, float]:
    classes = {name for name, _ in voters if name is not None}
    return {name: mean([float(good) for other, good in voters if other == name]) for name in classes}


@given(voters, st.data())
def test_majority_at_k_is_the_average_vote_of_all_subsets(voters, data):
    k = data.draw(st.integers(1, len(voters)))
    worth = worth_of_classes(voters)
    pool = [(name, 0.0 if name is None else worth[name]) for name, _ in voters]
    by_hand = mean([voted(subset) for subset in combinations(pool, k)])
    assert majority_at_k([name for name, _ in voters], [good for _, good in voters], k) == pytest.approx(
        by_hand, abs=1e-12
    )


@given(voters, st.randoms(use_true_random=False), st.data())
def test_majority_at_k_does_not_depend_on_the_order(voters, random, data):
    k = data.draw(st.integers(1, len(voters)))
    shuffled = list(voters)
    random.shuffle(shuffled)

    def majority(some: list[tuple[int | None, bool]]) -> float:
        return majority_at_k([name for name, _ in some], [good for _, good in some], k)

    assert majority(voters) == majority(shuffled)


@given(voters)
def test_majority_at_1_is_the_share_of_correct_answers(voters):
    answered = [(name, good and name is not None) for name, good in voters]
    share = mean([float(good) for _, good in answered])
    found = majority_at_k([name for name, _ in answered], [good for _, good in answered], 1)
    assert found == pytest.approx(share, abs=1e-12)


def test_a_tie_counts_by_share():
    assert majority_at_k([0, 1], [True, False], 2) == 0.5
    assert majority_at_k([0, 0, 1, 1, 2], [True, True, False, False, False], 5) == 0.5
    assert majority_at_k([0, 1, 2], [True, False, False], 3) == pytest.approx(1 / 3)


def test_samples_without_an_answer_do_not_vote():
    assert majority_at_k([None, None, None, 0], [False, False, False, True], 4) == 1
    assert majority_at_k([None, None], [False, False], 2) == 0


def test_sixty_four_samples_are_no_burden():
    classes = [0] * 20 + [1] * 20 + list(range(2, 26))
    correct = [True] * 20 + [False] * 44
    assert majority_at_k(classes, correct, 32) == pytest.approx(0.5, abs=0.01)


def test_majority_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="2 answers, but 1 verdicts"):
        majority_at_k([0, 1], [True], 1)
    with pytest.raises(ValueError, match="between 1 and the number of samples 1"):
        majority_at_k([0], [True], 2)


@given(st.integers(1, 300))
@example(1)
@example(8)
def test_subset_sizes_are_powers_of_two_and_all_samples(samples):
    sizes = sizes_up_to(samples)
    assert sizes[0] == 1
    assert sizes[-1] == samples
    assert sizes == sorted(set(sizes))
    assert all(size & (size - 1) == 0 for size in sizes[:-1])
