"""What is read back is what was recorded, to the bit; and a file is whole or absent."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thor_ray.errors import RecordFormatError
from thor_ray.record_schema import SCHEMA, SUMMARY_COLUMNS, VERSION_KEY
from thor_ray.records import (
    Learned,
    Record,
    Stage,
    read_columns,
    read_groups,
    read_records,
    read_trajectories,
    write_groups,
    write_records,
)
from thor_ray.segments import segments_of
from thor_ray.trajectory import (
    Cost,
    ExecutionResult,
    ExecutionStatus,
    FinishReason,
    Group,
    GroupKind,
    SpanKind,
    Tokens,
    Trajectory,
    TrajectoryBuilder,
)

token_ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6)
seconds = st.floats(0, 1e6)
results = st.builds(
    ExecutionResult,
    status=st.sampled_from(ExecutionStatus),
    text=st.text(max_size=12),
    exception_type=st.none() | st.text(max_size=8),
    wall_seconds=seconds,
    queue_seconds=seconds,
)
costs = st.builds(
    Cost,
    generated_tokens=st.integers(0, 2**40),
    prompt_tokens=st.integers(0, 2**40),
    cached_tokens=st.integers(0, 2**40),
    sandbox_calls=st.integers(0, 99),
    llm_seconds=seconds,
    tool_seconds=seconds,
)


def sample(draw: st.DrawFn, builder: TrajectoryBuilder, kind: SpanKind) -> None:
    ids = draw(token_ids)
    log_probs = draw(st.lists(st.floats(-50, 0, width=32), min_size=len(ids), max_size=len(ids)))
    builder.append_sampled(kind, ids, log_probs, draw(st.integers(0, 2**31 - 1)))


def grow(draw: st.DrawFn, builder: TrajectoryBuilder) -> Trajectory:
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            sample(draw, builder, SpanKind.THOUGHT)
        for _ in range(draw(st.integers(0, 2))):
            cut = len(builder)
            sample(draw, builder, SpanKind.ACTION)
            builder.cut_back(cut, len(builder.steps), draw(st.text(max_size=8)), draw(results))
        sample(draw, builder, SpanKind.ACTION)
        action = builder.spans[-1]
        seen = builder.append_written(SpanKind.OBSERVATION, draw(token_ids)) if draw(st.booleans()) else None
        builder.close_step(action, seen, draw(st.text(max_size=8)), draw(results))
    builder.cost = draw(costs)
    return builder.finish(
        draw(st.sampled_from(FinishReason)),
        draw(st.none() | st.text(max_size=8)),
        draw(st.none() | st.sampled_from(["correct", "wrong", "no_box"])),
        draw(st.none() | st.floats(-1, 1)),
    )


@st.composite
def group_lists(draw: st.DrawFn) -> list[Group]:
    groups = []
    for number in range(draw(st.integers(1, 2))):
        members = [
            grow(draw, TrajectoryBuilder(f"t{number}.{member}", f"p{number}", draw(token_ids)))
            for member in range(draw(st.integers(1, 3)))
        ]
        dropped = draw(st.none() | st.sampled_from(["no_variance", "too_few_survivors"]))
        groups.append(Group(f"g{number}", GroupKind.EPISODE, f"p{number}", tuple(members), dropped))
        parents = [member for member in members if member.steps]
        if parents:
            builder = TrajectoryBuilder.branch(f"b{number}", parents[0], 0, parents[0].steps[0].thought.end)
            branch = grow(draw, builder)
            groups.append(Group(f"s{number}", GroupKind.STEP, f"p{number}", (branch,)))
    return groups


def parts(trajectory: Trajectory) -> tuple[object, ...]:
    """All that a trajectory holds, in a form that ``==`` compares exactly, NaN and -0.0 included."""
    return (
        replace(trajectory, tokens=Tokens((), np.empty(0, np.float32), np.empty(0, np.int32))).__repr__(),
        trajectory.ids,
        trajectory.log_probs.dtype,
        trajectory.log_probs.tobytes(),
        trajectory.versions.dtype,
        trajectory.versions.tobytes(),
        trajectory.loss_mask().tobytes(),
    )


@given(group_lists())
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_groups_come_back_exactly(tmp_path, groups):
    path = tmp_path / "rl-00003.parquet"
    write_groups(path, groups, Stage.RL, 3)
    back = read_groups([path])
    assert [(g.uid, g.kind, g.problem_id, g.dropped) for g in back] == [
        (g.uid, g.kind, g.problem_id, g.dropped) for g in groups
    ]
    written = [trajectory for group in groups for trajectory in group.trajectories]
    assert [parts(t) for t in read_trajectories([path])] == [parts(t) for t in written]
    for trajectory in written:
        (record,) = read_records([path], trajectory.id)
        assert parts(record.trajectory) == parts(trajectory)
        assert (record.stage, record.round) == (Stage.RL, 3)


@given(group_lists())
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_the_columns_to_filter_by_agree_with_the_trajectories(tmp_path, groups):
    path = tmp_path / "rl-00000.parquet"
    write_groups(path, groups, Stage.RL, 0)
    rows = read_columns([path]).to_pylist()
    for row, trajectory in zip(rows, read_trajectories([path]), strict=True):
        assert row["tokens"] == len(trajectory.ids)
        assert row["calls"] == trajectory.calls
        statuses = [step.result.status for step in trajectory.own_steps]
        bad = (ExecutionStatus.NO_OUTPUT, ExecutionStatus.EXCEPTION, ExecutionStatus.TIMEOUT)
        assert row["failed_calls"] == sum(status in bad for status in statuses)
        assert row["discarded_attempts"] == len(trajectory.discarded)


@given(group_lists())
@settings(max_examples=40, deadline=None)
def test_segments_tile_the_ids_and_shade_the_loss_mask(groups):
    for group in groups:
        for trajectory in group.trajectories:
            segments = segments_of(trajectory)
            covered = np.concatenate([np.full(len(segment), segment.trained) for segment in segments])
            assert np.array_equal(covered, trajectory.loss_mask())
            assert segments[0].start == 0
            assert all(left.end == right.start for left, right in pairwise(segments))


def one_group(uid: str = "g", trajectory_id: str = "t") -> Group:
    builder = TrajectoryBuilder(trajectory_id, "p", [1, 2])
    builder.append_sampled(SpanKind.ANSWER, [3, 4], [-0.25, -1e-8], 7)
    return Group(uid, GroupKind.EPISODE, "p", (builder.finish(FinishReason.ANSWERED, "4", "correct", 1.0),))


def test_the_learners_columns_are_empty_until_they_are_given(tmp_path):
    path = tmp_path / "r.parquet"
    write_groups(path, [one_group()], Stage.RL, 0)
    (record,) = read_records([path])
    assert (record.learned.advantage, record.learned.proximal_log_probs, record.learned.excluded) == (None, None, None)
    proximal = np.asarray([0, 0, -0.3, -0.1], np.float32)
    write_groups(path, [one_group()], Stage.RL, 0, learned={"t": Learned(0.1, proximal, "too_short")})
    (record,) = read_records([path])
    assert record.learned.advantage == 0.1
    assert record.learned.excluded == "too_short"
    assert record.learned.proximal_log_probs is not None
    assert record.learned.proximal_log_probs.tobytes() == proximal.tobytes()


def test_texts_and_gold_answers_are_there_for_whoever_has_no_tokenizer(tmp_path):
    path = tmp_path / "r.parquet"
    decode = lambda ids: "".join(chr(ord("a") + token) for token in ids)  # noqa: E731
    write_groups(path, [one_group()], Stage.EVALUATE_RL, 0, decode=decode, gold_answers={"p": "4", "other": "5"})
    (record,) = read_records([path])
    assert record.texts == ("bc", "de")
    assert record.gold_answer == "4"
    assert record.stage is Stage.EVALUATE_RL


def test_text_that_is_no_unicode_does_not_lose_the_round(tmp_path):
    path = tmp_path / "r.parquet"
    write_groups(path, [one_group()], Stage.RL, 0, gold_answers={"p": "x\ud800y"})
    (record,) = read_records([path])
    assert record.gold_answer == "x\\ud800y"


def test_another_schema_version_is_refused_with_the_version_to_use(tmp_path):
    path = tmp_path / "r.parquet"
    write_groups(path, [one_group()], Stage.RL, 0)
    table = pq.read_table(path)
    metadata = {VERSION_KEY: b"99", b"thor_ray.written_by": b"7.1.0"}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(RecordFormatError, match=r"schema 99.*7\.1\.0") as caught:
        list(read_records([path]))
    assert "pip install thor-ray==7.1.0" in caught.value.remedy


def test_records_from_before_prompt_tokens_were_counted_say_that_nobody_did(tmp_path):
    builder = TrajectoryBuilder("t", "p", [1])
    builder.append_sampled(SpanKind.ANSWER, [2], [-0.5], 0)
    builder.cost = Cost(generated_tokens=1, prompt_tokens=1, cached_tokens=1)
    path = tmp_path / "rl-00000.parquet"
    write_groups(path, [Group("g", GroupKind.EPISODE, "p", (builder.finish(FinishReason.ANSWERED),))], Stage.RL, 0)
    table = pq.read_table(path)
    cost = [field for field in table.schema.field("cost").type if field.name not in ("prompt_tokens", "cached_tokens")]
    position = table.schema.get_field_index("cost")
    pq.write_table(table.set_column(position, "cost", table.column("cost").cast(pa.struct(cost))), path)
    (trajectory,) = read_trajectories([path])
    assert trajectory.cost == Cost(generated_tokens=1)
    assert trajectory.cost.cached_share is None


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(RecordFormatError, match="no trajectories of ours"):
        read_trajectories([tmp_path / "x.parquet"])
    with pytest.raises(RecordFormatError, match="not a Parquet file"):
        read_columns([tmp_path / "y.parquet"])


def test_nothing_can_be_recorded_twice_or_silently_lost(tmp_path):
    path = tmp_path / "r.parquet"
    with pytest.raises(ValueError, match="trajectory t is recorded 2 times"):
        write_groups(path, [one_group("g0"), one_group("g1")], Stage.RL, 0)
    with pytest.raises(ValueError, match="two groups have the uid g"):
        write_groups(path, [one_group("g", "t0"), one_group("g", "t1")], Stage.RL, 0)
    with pytest.raises(ValueError, match="group g has no trajectories"):
        write_groups(path, [replace(one_group(), trajectories=())], Stage.RL, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_round_without_trajectories_is_an_empty_file(tmp_path):
    path = tmp_path / "r.parquet"
    write_records(path, [])
    assert read_trajectories([path]) == []
    assert read_columns([path]).column_names == list(SUMMARY_COLUMNS)
    assert read_columns([]).num_rows == 0


def test_a_record_names_every_column():
    row = Record(one_group().trajectories[0], "g", GroupKind.EPISODE, None, Stage.RL, 0)
    assert row.learned.excluded is None
    assert set(SUMMARY_COLUMNS) < set(SCHEMA.names)


WRITER = """
import sys
from pathlib import Path
from thor_ray.records import Stage, write_groups
from thor_ray.trajectory import FinishReason, Group, GroupKind, SpanKind, TrajectoryBuilder

def group(number):
    members = []
    for member in range(64):
        builder = TrajectoryBuilder(f"t{member}", str(number), [1] * 50)
        builder.append_sampled(SpanKind.ANSWER, [number] * 400, [-0.5] * 400, 0)
        members.append(builder.finish(FinishReason.ANSWERED))
    return Group("g", GroupKind.EPISODE, str(number), tuple(members))

number = 0
while True:
    write_groups(Path(sys.argv[1]), [group(number)], Stage.RL, 0)
    number += 1
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_never_leaves_a_torn_file(tmp_path):
    path = tmp_path / "rl-00000.parquet"
    for attempt in range(8):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.003 * attempt)
            with contextlib.suppress(ProcessLookupError):
                os.kill(writer.pid, signal.SIGKILL)
        trajectories = read_trajectories([path])
        assert len(trajectories) == 64
        assert len({(t.problem_id, t.ids[50:]) for t in trajectories}) == 1
    assert list(Path(tmp_path).glob("*.parquet")) == [path]
