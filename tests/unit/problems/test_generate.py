"""Splits, determinism and refusals of the generator."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thor_ray.problems import FAMILIES, LEVELS, generate
from thor_ray.problems.generate import splits_of

SEEDS = st.integers(0, 2**32)
ALL = list(FAMILIES)


def phrasing(question: str) -> str:
    """A question without its numbers."""
    return re.sub(r"\d+(st|nd|rd|th)?", "#", question)


@settings(deadline=None, max_examples=5)
@given(train_seed=SEEDS, heldout_seed=SEEDS)
def test_train_and_heldout_share_neither_instances_nor_questions(train_seed: int, heldout_seed: int) -> None:
    train = generate(ALL, LEVELS, 300, train_seed, "train")
    heldout = generate(ALL, LEVELS, 300, heldout_seed, "heldout")
    assert not {problem.id for problem in train} & {problem.id for problem in heldout}
    assert not {problem.question for problem in train} & {problem.question for problem in heldout}


@pytest.mark.parametrize("family", FAMILIES)
def test_train_and_heldout_share_no_phrasing(family: str) -> None:
    train = {phrasing(problem.question) for problem in generate([family], LEVELS, 200, 0, "train")}
    heldout = {phrasing(problem.question) for problem in generate([family], LEVELS, 30, 0, "heldout")}
    assert not train & heldout


@settings(deadline=None, max_examples=5)
@given(seed=SEEDS, split=st.sampled_from(["train", "heldout", "validation", "test"]))
def test_no_instance_and_no_question_occurs_twice(seed: int, split) -> None:
    problems = generate(ALL, LEVELS, 200, seed, split)
    assert len({problem.id for problem in problems}) == len(problems) == 200
    assert len({problem.question for problem in problems}) == 200


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_the_same_arguments_give_the_same_problems(seed: int) -> None:
    assert generate(ALL, LEVELS, 60, seed, "train") == generate(ALL, LEVELS, 60, seed, "train")


def test_another_seed_gives_other_problems() -> None:
    assert generate(ALL, LEVELS, 60, 1, "train") != generate(ALL, LEVELS, 60, 2, "train")


def test_problems_are_spread_evenly_over_families_and_levels() -> None:
    problems = generate(["gcd", "lcm"], [1, 3], 40, 0, "train")
    cells = [(problem.source, problem.level) for problem in problems]
    assert {cells.count(cell) for cell in cells} == {10}
    assert set(cells) == {(f"families/{family}", level) for family in ("gcd", "lcm") for level in (1, 3)}


def test_a_family_that_runs_out_is_made_up_for_by_the_others() -> None:
    problems = generate(["nth_prime", "gcd"], [1], 140, 0, "heldout")
    sources = [problem.source for problem in problems]
    assert len(sources) == 140
    assert sources.count("families/nth_prime") < 70


def test_an_instance_lies_in_one_split_for_ever() -> None:
    # Shipped checkpoints were trained on this split: a change of the hash would leak held-out problems.
    assert [splits_of("gcd", (12, number)) for number in (14, 18, 21, 22)] == [{"train"}] * 4
    splits = Counter(split for number in range(20_000) for split in splits_of("gcd", (1, number)))
    assert 0.115 < splits["heldout"] / 20_000 < 0.135
    assert 0.3 < splits["validation"] / splits["heldout"] < 0.37
    assert splits["validation"] + splits["test"] == splits["heldout"] == 20_000 - splits["train"]


@given(seeds=st.tuples(SEEDS, SEEDS))
def test_settings_are_chosen_on_other_instances_than_are_reported_on(seeds: tuple[int, int]) -> None:
    validation = {problem.id for problem in generate(ALL, LEVELS, 60, seeds[0], "validation")}
    test = {problem.id for problem in generate(ALL, LEVELS, 60, seeds[1], "test")}
    assert not validation & test
    assert not (validation | test) & {problem.id for problem in generate(ALL, LEVELS, 300, seeds[0], "train")}


def test_nothing_is_drawn_for_a_count_of_zero() -> None:
    assert generate(["gcd"], [1], 0, 0, "train") == []


def test_more_problems_than_instances_are_refused() -> None:
    with pytest.raises(ValueError, match=r"asked for 500 problems.*nth_prime.*only \d+ distinct heldout instances"):
        generate(["nth_prime"], [1], 500, 0, "heldout")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["gdc"], [1], 1, 0, "train"), r"unknown family 'gdc'; known: gcd, lcm"),
        ((["gcd"], [4], 1, 0, "train"), r"unknown level 4; known: 1, 2, 3"),
        ((["gcd"], [1], 1, 0, "dev"), r"unknown split 'dev'; known: train, heldout, validation, test"),
        (([], [1], 1, 0, "train"), r"no family given"),
        ((["gcd"], [], 1, 0, "train"), r"no level given"),
        ((["gcd", "gcd"], [1], 1, 0, "train"), r"a family is listed twice"),
        ((["gcd"], [1], -1, 0, "train"), r"count must not be negative"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(*arguments)
