r"""Test problems that have found their way into training data.

Two ways to be found. A training row is *exactly* a test row if both read the same apart from typesetting
(``wording.exact_wording``). It *overlaps* with one if it holds a large enough share of the test row's n-grams of words,
which also finds copies that were reworded: the same problem with another last sentence is what mixtures of AIME, MATH
and OlympiadBench are full of.

Why n = 13 and half of the n-grams. GPT-3 and Qwen2.5-Math filter at 13 words, DeepSeekMath at 10. A single shared n-gram
would be too little in mathematics, where it is a phrase ("find the number of ordered pairs of positive integers"), so a
share is asked for. Measured on MATH (train, and test less MATH500), GSM8K, DeepMath-5k and AIME 1983-2023, 25 362 rows
that had already been filtered once, against nine test sets: n = 13 finds the six leaks that are left, and flags nine more
rows that share a test row's set-up or pattern. n = 10 finds the same six and flags 57 rows. Test rows shorter than n words
are compared exactly only (59 of MATH500's, 4 of OlympiadBench's); a smaller n is the remedy where that matters.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thor_ray.files import atomic_path
from thor_ray.problems.errors import ProblemFileError
from thor_ray.problems.problem import Problem
from thor_ray.problems.sources import Source, load_problems
from thor_ray.problems.wording import exact_wording, question_words

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OverlapRule:
    """When a training row counts as contaminated.

    Attributes:
        ngram: Words in a row that have to agree.
        min_share: Share of a test row's distinct n-grams that the training row must hold, above 0 and at most 1.

    Raises:
        ValueError: a value is out of its range.
    """

    ngram: int = 13
    min_share: float = 0.5

    def __post_init__(self) -> None:
        if self.ngram < 1:
            raise ValueError(f"ngram must be at least 1, but is {self.ngram}")
        if not 0 < self.min_share <= 1:
            raise ValueError(f"min_share must be above 0 and at most 1, but is {self.min_share}")


@dataclass(frozen=True, slots=True)
class Overlap:
    """One training row that holds one test row.

    Attributes:
        train_row: The row's number in its source, from 1.
        train_id: Its id.
        test_set: Name of the test set.
        test_id: Id of the test row.
        exact: Whether both read the same apart from typesetting.
        share: Share of the test row's distinct n-grams that the training row holds; 1 where ``exact``.
        shared_ngrams: How many these are; 0 for exact overlaps of rows that are shorter than n words.
        passages: The words behind these, as unbroken runs in the order of the training row.
    """

    train_row: int
    train_id: str
    test_set: str
    test_id: str
    exact: bool
    share: float
    shared_ngrams: int
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _TestRow:
    test_set: str
    id: str
    grams: int


class TestIndex:
    """Test sets, prepared for asking of many questions whether they are in them.

    Asking costs a hash look-up per word of the question, however many test rows there are.

    Args:
        tests: Problems by the name of their set.
        rule: When a question counts as one of them.
    """

    __test__ = False  # pytest takes classes of this name for tests

    def __init__(self, tests: Mapping[str, Sequence[Problem]], rule: OverlapRule) -> None:
        self.rule = rule
        self.sizes = {name: len(problems) for name, problems in tests.items()}
        self.too_short = dict.fromkeys(tests, 0)
        """Rows by set that have fewer than n words and are compared exactly only."""
        self._rows: list[_TestRow] = []
        self._by_wording: dict[str, list[int]] = defaultdict(list)
        self._by_gram: dict[Gram, list[int]] = defaultdict(list)
        for name, problems in tests.items():
            for problem in problems:
                self._add(name, problem)

    def overlaps(self, problem: Problem, row: int) -> list[Overlap]:
        """The test rows that a training row holds, in the order of the test sets.

        Args:
            problem: The training row.
            row: Its number in its source, for the report.
        """
        words = question_words(problem.question)
        positions = self._shared_positions(words)
        exact = set(self._by_wording.get(exact_wording(problem.question), ()))
        found = []
        for index in sorted(positions.keys() | exact):
            test = self._rows[index]
            shared = len({self._gram(words, start) for start in positions.get(index, ())})
            share = 1.0 if index in exact else shared / test.grams
            if share >= self.rule.min_share:
                passages = tuple(_passages(words, positions.get(index, ()), self.rule.ngram))
                found.append(Overlap(row, problem.id, test.test_set, test.id, index in exact, share, shared, passages))
        return found

    def _add(self, test_set: str, problem: Problem) -> None:
        words = question_words(problem.question)
        grams = {self._gram(words, start) for start in self._starts(words)}
        self.too_short[test_set] += not grams
        index = len(self._rows)
        self._rows.append(_TestRow(test_set, problem.id, len(grams)))
        self._by_wording[exact_wording(problem.question)].append(index)
        for gram in grams:
            self._by_gram[gram].append(index)

    def _shared_positions(self, words: Gram) -> dict[int, list[int]]:
        """By test row, where in ``words`` the n-grams begin that it has as well."""
        positions: dict[int, list[int]] = defaultdict(list)
        for start in self._starts(words):
            for index in self._by_gram.get(self._gram(words, start), ()):
                positions[index].append(start)
        return positions

    def _starts(self, words: Gram) -> range:
        return range(len(words) - self.rule.ngram + 1)

    def _gram(self, words: Gram, start: int) -> Gram:
        return words[start : start + self.rule.ngram]


def index_test_sets(sources: Sequence[str], rule: OverlapRule, data_dir: Path | None = None) -> TestIndex:
    """Reads test sets and indexes them under the names they were given by.

    Args:
        sources: Benchmarks by name, files, or data sets of the hub.
        rule: When a question counts as one of them.
        data_dir: Where benchmark files lie; ``None`` asks ``THOR_DATA``.

    Raises:
        ProblemFileError: one of them is not found or cannot be read.
    """
    return TestIndex({source: load_problems(source, data_dir=data_dir) for source in sources}, rule)


@dataclass(frozen=True, slots=True)
class ContaminationReport:
    """What a training set holds of test sets.

    Attributes:
        train: Names the training set.
        train_rows: Its size.
        rule: What counted.
        test_rows: Size of each test set by name.
        too_short: Rows of each that have fewer than n words, and were compared exactly only.
        overlaps: All pairs, by training row.
    """

    train: str
    train_rows: int
    rule: OverlapRule
    test_rows: Mapping[str, int]
    too_short: Mapping[str, int]
    overlaps: tuple[Overlap, ...]

    @property
    def contaminated_rows(self) -> frozenset[int]:
        """Numbers of the training rows that hold a test row."""
        return frozenset(overlap.train_row for overlap in self.overlaps)

    def hits_by_set(self) -> dict[str, int]:
        """By test set, how many training rows hold one of its rows."""
        hits = Counter(name for name, _ in {(overlap.test_set, overlap.train_row) for overlap in self.overlaps})
        return {name: hits[name] for name in self.test_rows}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        hits = self.hits_by_set()
        return {
            "train": self.train,
            "train_rows": self.train_rows,
            "contaminated_rows": len(self.contaminated_rows),
            "contaminated_share": len(self.contaminated_rows) / self.train_rows if self.train_rows else 0.0,
            "rule": asdict(self.rule),
            "against": [
                {
                    "set": name,
                    "rows": rows,
                    "rows_compared_exactly_only": self.too_short[name],
                    "contaminated_training_rows": hits[name],
                }
                for name, rows in self.test_rows.items()
            ],
            "overlaps": [asdict(overlap) for overlap in self.overlaps],
        }


def contamination(train: str, rows: Iterable[tuple[int, Problem]], index: TestIndex) -> ContaminationReport:
    """Compares a training set with test sets.

    Args:
        train: Names the training set in the report.
        rows: Its problems with their row numbers.
        index: The test sets.
    """
    overlaps: list[Overlap] = []
    count = 0
    for row, problem in rows:
        count += 1
        overlaps += index.overlaps(problem, row)
    return ContaminationReport(train, count, index.rule, index.sizes, index.too_short, tuple(overlaps))


def write_clean_rows(source: Source, contaminated: Collection[int], path: Path) -> int:
    """Writes a training set less some of its rows as JSON Lines: every field as it stands, and an id if it had none.

    Args:
        source: The training set; it is read once more.
        contaminated: Numbers of the rows to leave out.
        path: New file, or one to replace; it is whole or absent whatever happens.

    Returns:
        How many rows were written.

    Raises:
        ProblemFileError: the training set cannot be read any more.
        DiskFullError: the disk or the quota is exhausted.
    """
    written = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as clean:
        for row in source.rows():
            if isinstance(row.record, ProblemFileError):
                raise row.record
            if row.number in contaminated:
                continue
            record = {"id": f"{source.stem}-{row.number}", **row.record}
            # Parquet knows values that JSON does not, dates for instance.
            clean.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            written += 1
    return written


def _passages(words: Gram, starts: Sequence[int], ngram: int) -> Iterable[str]:
    """The longest runs of words all of whose n-grams begin at ``starts``, which ascend."""
    begin = 0
    for position, start in enumerate(starts):
        if position == 0 or starts[position - 1] != start - 1:
            begin = start
        if position == len(starts) - 1 or starts[position + 1] != start + 1:
            yield " ".join(words[begin : start + ngram])
