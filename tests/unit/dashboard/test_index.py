"""The index says of every trajectory what the trajectory itself says, and follows the record files."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.runs import FAILED, OK, continuation, trajectory, write_run
from thor_ray.dashboard.index import RunIndex
from thor_ray.dashboard.query import Order, RolloutQuery, counts, labelled, matching, page
from thor_ray.dashboard.reading import NotRecordedError, one_record, records_at
from thor_ray.dashboard.search import TextSearch
from thor_ray.dashboard.statuses import Status, holds
from thor_ray.records import Stage, read_records, write_groups
from thor_ray.run_directory import RunDirectory
from thor_ray.selection import has_void_turn
from thor_ray.trajectory import (
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    SpanKind,
    Trajectory,
    TrajectoryBuilder,
)


@st.composite
def trajectories(draw: st.DrawFn, name: str) -> Trajectory:
    builder = TrajectoryBuilder(name, "p", [1, 2])
    for _ in range(draw(st.integers(0, 2))):
        builder.append_sampled(SpanKind.THOUGHT, [3, 4], [-1.0, -1.0], 0)
        action = builder.append_sampled(SpanKind.ACTION, [5], [-1.0], 0)
        seen = builder.append_written(SpanKind.OBSERVATION, [6]) if draw(st.booleans()) else None
        code = draw(st.sampled_from(["", " \n\t", "print(1)"]))
        builder.close_step(action, seen, code, ExecutionResult(draw(st.sampled_from(ExecutionStatus)), "x"))
    if draw(st.booleans()):
        builder.append_sampled(SpanKind.ANSWER, [7], [-1.0], 0)
    builder.cost.llm_seconds = draw(st.floats(0, 9))
    answer = draw(st.sampled_from([None, "", "7"]))
    grade = draw(st.sampled_from([None, "correct", "wrong", "no_box", "error"]))
    return builder.finish(draw(st.sampled_from(FinishReason)), answer, grade, draw(st.none() | st.just(1.0)))


@st.composite
def groups(draw: st.DrawFn) -> list[Group]:
    members = tuple(draw(trajectories(f"t{number}")) for number in range(draw(st.integers(1, 5))))
    made = [Group("g", GroupKind.EPISODE, "p", members)]
    parents = [member for member in members if member.steps]
    if parents:
        branch = TrajectoryBuilder.branch("b", parents[0], len(parents[0].steps) - 1, parents[0].steps[-1].thought.end)
        made.append(Group("s", GroupKind.STEP, "p", (branch.finish(draw(st.sampled_from(FinishReason))),)))
    return made


@given(groups())
@settings(max_examples=60)
def test_flags_are_those_of_the_trajectories(made):
    with TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        directory.records.mkdir()
        write_groups(directory.records / "rl-00000.parquet", made, Stage.RL, 0)
        table = RunIndex(directory).snapshot().table
    every = [trajectory for group in made for trajectory in group.trajectories]
    assert table["trajectory_id"].to_pylist() == [one.id for one in every]
    assert table["void_turn"].to_pylist() == [has_void_turn(one) for one in every]
    lost = [any(step.result.status is ExecutionStatus.INFRA_ERROR for step in one.own_steps) for one in every]
    assert table["infra_error"].to_pylist() == lost
    assert holds(table, Status.TOOL_ERROR).tolist() == [
        any(step.result.status.failed for step in one.own_steps) for one in every
    ]
    assert holds(table, Status.WRONG).tolist() == [one.grade_status in ("wrong", "no_box") for one in every]
    assert table["parent_id"].to_pylist() == [one.parent and one.parent.trajectory_id for one in every]
    assert table["seconds"].to_pylist() == [one.cost.llm_seconds for one in every]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return RunDirectory(write_run(tmp_path_factory.mktemp("index") / "run"))


@pytest.fixture(scope="module")
def snapshot(run):
    return RunIndex(run).snapshot()


def test_every_record_is_found_at_its_place(run, snapshot):
    stored = list(read_records(run.record_files()))
    assert [record.trajectory.id for record in records_at(snapshot, snapshot.table)] == [
        record.trajectory.id for record in stored
    ]
    backwards = snapshot.table.take(np.arange(len(stored))[::-1])
    for record, same in zip(records_at(snapshot, backwards), reversed(stored), strict=True):
        assert record.trajectory.ids == same.trajectory.ids
        assert np.array_equal(record.trajectory.log_probs, same.trajectory.log_probs)
        assert (record.texts, record.learned.advantage) == (same.texts, same.learned.advantage)
    with pytest.raises(NotRecordedError):
        one_record(snapshot, "nobody")


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("order", Order)
def test_pages_tile_what_was_asked_for_in_order(snapshot, order, descending):
    table, mask = snapshot.table, snapshot.flags[Status.TOOL_ERROR]
    rows = []
    for offset in range(0, int(mask.sum()) + 7, 7):
        rows += page(
            snapshot, mask, RolloutQuery(order=order, descending=descending, offset=offset, limit=7)
        ).to_pylist()
    wanted = {one for one, held in zip(table["trajectory_id"].to_pylist(), mask, strict=True) if held}
    assert len(rows) == len(wanted)
    assert {row["trajectory_id"] for row in rows} == wanted
    values = [row[str(order)] for row in rows]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=descending)
    assert values == known + [None] * (len(values) - len(known))


def test_counts_and_labels_agree(snapshot):
    mask = matching(snapshot, RolloutQuery(equal=(("stage", "rl"), ("round", 2))))
    rows = labelled(snapshot.table.filter(mask))
    assert {row["round"] for row in rows} == {2}
    found = counts(snapshot, mask)
    assert found == {str(status): sum(str(status) in row["statuses"] for row in rows) for status in Status}
    assert found["step"] == found["dropped"] == 2
    assert found["excluded"] == 1


@pytest.mark.parametrize("words", ["MATH.GCD", "corrected/7", "boxed{18}", "gcd-31", "not there", "a(b", "%"])
def test_search_finds_what_a_reader_would_find(run, snapshot, words):
    stored = list(read_records(run.record_files()))
    fields = [
        (r.trajectory.id, r.trajectory.problem_id, r.trajectory.answer or "", r.gold_answer or "", *r.texts)
        for r in stored
    ]
    wanted = [any(words.lower() in field.lower() for field in one) for one in fields]
    for search in (TextSearch(), TextSearch(budget_bytes=1)):
        for _ in range(2):
            everything = np.ones(len(stored), np.bool_)
            assert search.matches(snapshot, words, everything).tolist() == wanted
            assert not search.matches(snapshot, words, ~everything).any()


def test_the_index_follows_the_files(tmp_path):
    directory = RunDirectory(tmp_path)
    index = RunIndex(directory)
    assert len(index.snapshot().table) == 0
    assert labelled(index.snapshot().table) == []
    directory.records.mkdir()
    first, second = (directory.records / f"rl-0000{number}.parquet" for number in (0, 1))
    parent = trajectory("a", results=(FAILED,))
    write_groups(first, [Group("g", GroupKind.EPISODE, "gcd-0", (parent,))], Stage.RL, 0)
    before = index.snapshot()
    assert before.table["trajectory_id"].to_pylist() == ["a"]
    assert index.snapshot() is before
    write_groups(second, [Group("s", GroupKind.STEP, "gcd-0", (continuation("b", parent),))], Stage.RL, 1)
    assert index.snapshot().table["parent_id"].to_pylist() == [None, "a"]
    write_groups(first, [Group("g", GroupKind.EPISODE, "gcd-0", (trajectory("c", results=(OK,)),))], Stage.RL, 0)
    assert index.snapshot().table["trajectory_id"].to_pylist() == ["c", "b"]
    second.unlink()
    assert index.snapshot().table["trajectory_id"].to_pylist() == ["c"]
    second.write_bytes(b"not parquet")
    snapshot = index.snapshot()
    assert snapshot.table["trajectory_id"].to_pylist() == ["c"]
    assert "not a Parquet file" in snapshot.unreadable["rl-00001.parquet"]
