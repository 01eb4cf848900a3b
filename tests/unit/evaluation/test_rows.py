"""Rows come back from disk as they were, survive a kill, and say what trajectories said."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.evaluations import ABOUT, full_samples, sample
from tests.support.runs import FAILED, OK, trajectory
from thor_ray.config import RepairStrategy
from thor_ray.errors import RecordFormatError, UserError
from thor_ray.evaluation.samples import (
    CodeUse,
    EvaluationSample,
    JudgeVerdict,
    Timing,
    TokenUse,
    latest_samples,
    sample_of_trajectory,
    samples_of_records,
)
from thor_ray.evaluation.store import EvaluationDirectory, SampleLog, read_samples, write_samples
from thor_ray.grading import GradeStatus
from thor_ray.metrics import is_judged
from thor_ray.records import Record, Stage
from thor_ray.trajectory import FinishReason, GroupKind

known_text = st.one_of(st.none(), st.text(max_size=20))
rows = st.builds(
    EvaluationSample,
    benchmark=st.text(min_size=1, max_size=5),
    problem_id=st.text(min_size=1, max_size=5),
    sample_index=st.integers(0, 3),
    status=st.one_of(st.none(), st.sampled_from(GradeStatus)),
    answer=known_text,
    gold=known_text,
    strategy=st.one_of(st.none(), st.sampled_from(RepairStrategy)),
    attempt=st.integers(1, 3),
    subject=known_text,
    level=st.one_of(st.none(), st.integers(1, 5)),
    finish=st.one_of(st.none(), st.sampled_from(FinishReason)),
    code=st.one_of(st.none(), st.builds(CodeUse, executed=st.integers(2, 5), failed=st.integers(0, 2))),
    tokens=st.one_of(st.none(), st.builds(TokenUse, generated=st.integers(9, 99), discarded=st.integers(0, 9))),
    timing=st.one_of(st.none(), st.builds(Timing, llm=st.floats(0, 1e6), ended_at=st.floats(0, 1e10))),
    external_score=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    judge=st.one_of(st.none(), st.builds(JudgeVerdict, judge=st.text(max_size=5), status=st.sampled_from(GradeStatus))),
)


@given(st.lists(rows, max_size=5, unique_by=lambda row: row.key))
def test_rows_come_back_as_they_were(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("rows") / "samples.jsonl"
    write_samples(path, some)
    assert read_samples(path) == latest_samples(some)
    with SampleLog(path) as log:
        assert log.done == {row.key for row in some}


@given(st.lists(rows, max_size=8), st.randoms(use_true_random=False))
def test_of_several_rows_of_one_sample_the_latest_attempt_counts(some, random):
    latest = latest_samples(some)
    assert [row.key for row in latest] == list(dict.fromkeys(row.key for row in latest))
    for row in latest:
        assert row.attempt == max(other.attempt for other in some if other.key == row.key)
    distinct = [row for row in some if sum((o.key, o.attempt) == (row.key, row.attempt) for o in some) == 1]
    shuffled = list(distinct)
    random.shuffle(shuffled)
    assert latest_samples(shuffled) == latest_samples(distinct)


def test_a_later_attempt_supersedes_in_whatever_order_the_rows_come():
    first, again = sample(correct=False, attempt=1), sample(correct=True, attempt=2)
    assert latest_samples([first, again]) == latest_samples([again, first]) == [again]
    # Of one attempt, the row that was written last.
    assert latest_samples([sample(correct=False), sample(correct=True)]) == [sample(correct=True)]


def test_half_a_surrogate_pair_survives(tmp_path):
    """Policies write anything, and the tokenizer of some can end in the middle of a character."""
    row = sample(correct=False, answer="\ud800 is no text")
    write_samples(tmp_path / "s.jsonl", [row])
    assert read_samples(tmp_path / "s.jsonl") == [row]


def test_a_killed_writer_costs_one_row_at_most(tmp_path):
    path = tmp_path / "samples.jsonl"
    with SampleLog(path) as log:
        for row in full_samples(2, 2):
            log.append(row)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert read_samples(path) == latest_samples(full_samples(2, 2))[:-1]
    with SampleLog(path) as log:
        assert log.attempt == 2
        assert len(log.done) == 3
        missing = full_samples(2, 2)[-1]
        assert missing.key not in log.done
        log.append(dataclasses.replace(missing, attempt=log.attempt))
    assert [row.key for row in read_samples(path)] == [row.key for row in latest_samples(full_samples(2, 2))]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"benchmark": "b"}', "line 1: no evaluation row of schema 1: problem_id: Field required"),
        ("no json", "line 1: no evaluation row of schema 1: not JSON"),
        ('{"schema": 2}', "no evaluation row of schema 1"),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(tmp_path, line, fault):
    (tmp_path / "s.jsonl").write_text(line + "\n")
    with pytest.raises(RecordFormatError, match=fault):
        read_samples(tmp_path / "s.jsonl")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"schema": 2}, "schema: Input should be less than or equal to 1"),
        ({"colour": "red"}, "colour: Unexpected keyword argument"),
        ({"code": {"executed": 1, "failed": 2}}, "2 blocks failed, but only 1 were executed"),
        ({"tokens": {"generated": 1, "discarded": 2}}, "2 tokens were discarded, but only 1 generated"),
        ({"tokens": {"generated": 1, "prompt": 2, "cached": 3}}, "3 prompt tokens were reused, but there are 2"),
        ({"sample_index": -1}, "sample_index: Input should be greater than or equal to 0"),
    ],
)
def test_a_row_of_another_version_or_with_impossible_counts_is_refused(tmp_path, change, fault):
    path = tmp_path / "s.jsonl"
    write_samples(path, [sample()])
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(RecordFormatError, match=fault):
        read_samples(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordFormatError, match=r"none\.jsonl cannot be read"):
        read_samples(tmp_path / "none.jsonl")


def test_what_cannot_be_judged_is_as_in_training():
    for finish in FinishReason:
        for status in GradeStatus:
            judged = sample(status=status, finish=finish).judged
            made = trajectory("t")
            assert judged == is_judged(dataclasses.replace(made, finish=finish, grade_status=str(status)))
    assert not sample(status=None).judged


def test_a_row_says_what_its_trajectory_says():
    made = trajectory("t1", "gcd-3", (FAILED, OK), "36", corrected=2)
    row = sample_of_trajectory(made, "held-out", 3, "36", RepairStrategy.STEP_SUFFIX)
    assert row.key == ("held-out", RepairStrategy.STEP_SUFFIX, "gcd-3", 3)
    assert row.correct
    assert row.code == CodeUse(executed=2, failed=1, lost=0, discarded=2)
    assert row.code.sandbox_calls == 4
    assert row.tokens is not None
    assert (row.tokens.generated, row.tokens.kept) == (made.cost.generated_tokens, made.cost.kept_tokens)
    assert row.trajectory_id == "t1"
    assert row.tokens.prompt is row.tokens.cached is None, "nobody counted them"
    made.cost.prompt_tokens, made.cost.cached_tokens = 90, 64
    counted = sample_of_trajectory(made, "held-out", 3, "36").tokens
    assert counted is not None
    assert (counted.prompt, counted.cached) == (90, 64)


def test_samples_of_a_problem_are_numbered_as_they_come():
    records = [
        Record(trajectory(f"t{number}", problem), f"g{number}", GroupKind.EPISODE, None, Stage.EVALUATE, 0)
        for number, problem in enumerate(("a", "b", "a", "a"))
    ]
    rows = samples_of_records(records, "held-out")
    assert [(row.problem_id, row.sample_index) for row in rows] == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]


def test_pass_rate_is_undefined_without_code():
    assert CodeUse(executed=0, failed=0).pass_rate is CodeUse(executed=0, failed=0).all_passed is None
    assert CodeUse(executed=4, failed=1).pass_rate == 0.75


def test_an_evaluation_is_not_overwritten_or_mixed_with_another(tmp_path: Path):
    directory = EvaluationDirectory(tmp_path / "evaluation")
    directory.create(ABOUT)
    write_samples(directory.samples_file, [sample()])
    with pytest.raises(UserError, match="holds an evaluation already"):
        directory.create(ABOUT)
    directory.resume(ABOUT)
    other = ABOUT.model_copy(update={"settings": {"model": "large", "seed": "7"}})
    with pytest.raises(UserError, match="model is 'tiny', not 'large'"):
        directory.resume(other)
    directory.create(other, overwrite=True)
    assert directory.about() == other
    assert not directory.samples_file.exists()
    with pytest.raises(RecordFormatError, match=r"about\.json cannot be read"):
        EvaluationDirectory(tmp_path / "nowhere").resume(ABOUT)
