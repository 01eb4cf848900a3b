"""Test problems in training data are found, whether copied, retypeset or reworded, and nothing else is."""

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.config import DecontaminationConfig
from thor_ray.problems import BENCHMARKS, BenchmarkKind, Problem, load_problems
from thor_ray.problems.benchmarks import find_file
from thor_ray.problems.decontamination import OverlapRule, TestIndex, contamination, index_test_sets
from thor_ray.problems.sources import find_source, numbered_problems
from thor_ray.problems.wording import exact_wording, question_words

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=1, max_size=30)


def ask(question: str, name: str = "row") -> Problem:
    return Problem(name, question, "1", "test")


def overlaps(train: str, test: str, rule: OverlapRule | None = None):
    return TestIndex({"set": [ask(test, "test")]}, rule or OverlapRule()).overlaps(ask(train), 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Find $x$ if $x^{2}=4$.", "find \\(x\\) if\n\\[x^2 = 4\\]"),
        (r"Compute $\dfrac{1}{2}+\left(3\right)$", r"Compute $\frac 1 2 + (3)$"),
        (r"Let $a_1, a_2, \ldots, a_n \le 5$", r"Let $a_{1},\,a_{2},\dots,a_{n} \leq 5$."),
        ("What is $1+1$? [asy] draw(A--B); [/asy]", "What is $1 + 1$?"),
        (r"$a=0 \quad \text{and} \quad b=1$", r"$a=0$ and $b=1$"),
        ("ＡＢＣ", "abc"),  # full-width letters, as East Asian texts have them
    ],
)
def test_typesetting_does_not_hide_a_copy(one, other):
    assert exact_wording(one) == exact_wording(other)
    assert question_words(one) == question_words(other)
    (found,) = overlaps(one, other)
    assert found.exact
    assert found.share == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Solve $2(x+1)=6$", "Solve $2x+1=6$"),
        ("$x-1$", "$x+1$"),
        ("$x^2$", "$x_2$"),
        (r"$\sin 2$", r"$\cos 2$"),
        (r"$\sqrt{x+1}$", r"$\sqrt{x}+1$"),
        ("$1.5$", "$15$"),
        ("$x < 1$", "$x > 1$"),
    ],
)
def test_what_means_something_else_is_no_copy(one, other):
    assert exact_wording(one) != exact_wording(other)
    assert overlaps(one, other) == []


SETTING = "Two dice with faces numbered one to six are rolled and the sum of the numbers shown is written down"


def test_a_reworded_copy_is_found_by_its_passages():
    test = f"{SETTING}. Find the probability that it is seven."
    (found,) = overlaps(f"In a game, {SETTING}! What is the chance of a seven?", test)
    assert not found.exact
    assert found.passages == (" ".join(SETTING.lower().split()),)
    assert found.shared_ngrams == len(SETTING.split()) - 12
    assert found.share == pytest.approx(found.shared_ngrams / (len(test.split()) - 12))


def test_a_share_that_is_too_small_is_no_overlap():
    test = f"{SETTING}. Find the probability that it is seven."
    train = " ".join(SETTING.split()[:14])
    assert overlaps(train, test) == []
    assert len(overlaps(train, test, OverlapRule(min_share=0.1))) == 1
    assert overlaps(train, test, OverlapRule(ngram=15, min_share=0.01)) == []


def test_rows_shorter_than_n_words_are_compared_exactly_only():
    index = TestIndex({"set": [ask("Compute $\\tan 60^\\circ$.", "short"), ask(SETTING, "long")]}, OverlapRule())
    assert index.too_short == {"set": 1}
    assert [found.test_id for found in index.overlaps(ask("compute tan 60^circ"), 1)] == ["short"]
    assert index.overlaps(ask("Compute $\\tan 60^\\circ$ and then its square root"), 1) == []


@given(WORDS, WORDS, st.integers(1, 6), st.floats(0.05, 1))
def test_overlaps_are_what_a_direct_comparison_finds(train, test, ngram, min_share):
    def grams(words):
        return {tuple(words[start : start + ngram]) for start in range(len(words) - ngram + 1)}

    shared = grams(train) & grams(test)
    same = train == test
    expected = same or (bool(shared) and len(shared) / len(grams(test)) >= min_share)
    found = overlaps(" ".join(train), " ".join(test), OverlapRule(ngram, min_share))
    assert bool(found) == expected
    if found:
        assert found[0].exact == same
        assert found[0].shared_ngrams == len(shared)
        assert {gram for passage in found[0].passages for gram in grams(passage.split())} == shared
        assert all(passage in " ".join(train) for passage in found[0].passages)


@given(WORDS.filter(lambda words: len(words) >= 4), st.randoms(use_true_random=False))
def test_a_row_that_holds_a_whole_test_row_is_always_found(words, rng: random.Random):
    around = [str(rng.randint(0, 9)) for _ in range(rng.randint(0, 5))]
    (found,) = overlaps(" ".join([*around, *words, *around]), " ".join(words), OverlapRule(4, 1.0))
    assert found.share == 1


def test_the_report_counts_rows_once_and_names_pairs():
    index = TestIndex({"a": [ask(SETTING, "a1"), ask(SETTING, "a2")], "b": [ask("else", "b1")]}, OverlapRule())
    report = contamination("train", [(4, ask("new", "n")), (7, ask(SETTING, "old"))], index)
    assert report.contaminated_rows == {7}
    assert report.hits_by_set() == {"a": 1, "b": 0}
    tree = json.loads(json.dumps(report.to_json()))
    assert (tree["train_rows"], tree["contaminated_rows"], tree["contaminated_share"]) == (2, 1, 0.5)
    assert tree["against"][0] == {
        "set": "a",
        "rows": 2,
        "rows_compared_exactly_only": 0,
        "contaminated_training_rows": 1,
    }
    assert [(pair["train_id"], pair["train_row"], pair["test_id"]) for pair in tree["overlaps"]] == [
        ("old", 7, "a1"),
        ("old", 7, "a2"),
    ]


@pytest.mark.parametrize("values", [{"ngram": 0}, {"min_share": 0.0}, {"min_share": 1.5}])
def test_impossible_rules_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        OverlapRule(**values)


def test_the_recipes_defaults_are_the_rules():
    rule, config = OverlapRule(), DecontaminationConfig()
    assert (config.ngram, config.min_share) == (rule.ngram, rule.min_share)


needs_data = pytest.mark.skipif(
    "THOR_DATA" not in os.environ,
    reason="no real files: set THOR_DATA to a folder with benchmarks/*.jsonl and data/*.jsonl to compare them",
)


@pytest.fixture(scope="module")
def real_index() -> TestIndex:
    names = [each.name for each in BENCHMARKS if each.kind is BenchmarkKind.MATHEMATICS and find_file(each)]
    return index_test_sets(names, OverlapRule())


def real_report(index: TestIndex, name: str):
    path = Path(os.environ["THOR_DATA"]) / "data" / name
    if not path.is_file():
        pytest.skip(f"NOT CHECKED: there is no {path}")
    return contamination(name, numbered_problems(find_source(path)), index)


@needs_data
@pytest.mark.parametrize(
    ("file", "leaks"),
    [
        ("math_train.jsonl", {("math-train-4520", "olympiadbench-2895"), ("math-train-6844", "olympiadbench-2644")}),
        ("math_test_minus500.jsonl", {("math-test-2680", "olympiadbench-2918")}),
    ],
)
def test_real_copies_across_data_sets_are_found(real_index, file, leaks):
    report = real_report(real_index, file)
    assert {(pair.train_id, pair.test_id) for pair in report.overlaps if pair.exact} == leaks


@needs_data
def test_real_aime_problems_that_math500_rewords_are_found(real_index):
    report = real_report(real_index, "aime_1983_2023.jsonl")
    assert {(pair.train_id, pair.test_id) for pair in report.overlaps} == {
        ("aime-1995-1-9", "test/precalculus/1281.json"),
        ("aime-2002-1-12", "test/intermediate_algebra/1063.json"),
        ("aime-2006-2-5", "test/counting_and_probability/1003.json"),
    }


@needs_data
def test_a_real_training_set_without_leaks_is_clean(real_index):
    assert real_report(real_index, "gsm8k_train.jsonl").overlaps == ()


@needs_data
def test_every_real_benchmark_is_found_whole_in_itself(real_index):
    for name in real_index.sizes:
        problems = load_problems(name)
        report = contamination(name, enumerate(problems, start=1), real_index)
        assert len(report.contaminated_rows) == len(problems), name
        assert all(pair.exact for pair in report.overlaps if pair.train_id == pair.test_id)
