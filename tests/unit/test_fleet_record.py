"""Looks at actors are read as they were written, and say which engine fell behind."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.runs import fleet_looks
from thor_ray.alarms import fleet_alarms
from thor_ray.dashboard.fleet import fleet_object
from thor_ray.fleet_record import FLEET_FILE, TAIL_BYTES, EngineSeen, FleetLook, ProcessSeen, read_looks

engines = st.builds(EngineSeen, st.booleans(), st.none() | st.integers(0), st.integers(0), st.none() | st.text())
looks = st.builds(
    FleetLook,
    st.text(),
    st.integers(1),
    st.none() | st.integers(0),
    st.lists(engines, max_size=3).map(tuple),
    st.lists(st.builds(ProcessSeen, st.integers(1), st.text(), st.integers(0)), max_size=3).map(tuple),
)


@given(looks)
def test_a_look_is_read_as_it_was_written(look):
    line = look.to_line()
    assert line.count(b"\n") == 1
    assert FleetLook.from_json(json.loads(line)) == look


def test_a_torn_line_and_a_foreign_one_are_passed_over(tmp_path):
    assert read_looks(tmp_path) == []
    whole = b"".join(look.to_line() for look in fleet_looks())
    (tmp_path / FLEET_FILE).write_bytes(b'{"time": 1}\nno JSON\n' + whole + whole[:40])
    assert read_looks(tmp_path) == fleet_looks()


def test_of_a_long_run_the_latest_looks_are_read(tmp_path):
    line = fleet_looks()[-1].to_line()
    count = 3 * TAIL_BYTES // len(line)
    (tmp_path / FLEET_FILE).write_bytes(line * count)
    assert TAIL_BYTES // len(line) - 1 <= len(read_looks(tmp_path)) < count


def test_an_engine_that_stays_behind_is_named_with_both_versions():
    (alarm,) = fleet_alarms(fleet_looks())
    assert alarm.sentence == "engine 1 serves version 1, learner is at 3"
    # The learner may have published just now.
    assert fleet_alarms(fleet_looks()[:2]) == []


def test_saturation_is_the_share_of_waiting_in_what_programs_took_of_late():
    start, *_ = fleet_looks()
    engine = EngineSeen(True, 1, 100, None, 5, 0, program_seconds=50.0, queue_seconds=1.0)
    later = replace(engine, program_seconds=53.0, queue_seconds=2.0)
    looks = [replace(start, engines=(one,)) for one in (engine, later)]
    assert fleet_object(looks, None)["engines"][0]["saturation"] == 0.25
    assert fleet_object(looks[:1], None)["engines"][0]["saturation"] is None
    replaced = replace(start, engines=(replace(engine, program_seconds=0.0, queue_seconds=0.0),))
    assert fleet_object([*looks, replaced], None)["engines"][0]["saturation"] is None


def test_an_engine_is_silent_if_it_missed_two_looks_of_the_same_attempt():
    first, second, _ = fleet_looks()
    silent = [replace(look, engines=(replace(look.engines[0], answers=False),)) for look in (first, second)]
    assert [alarm.words for alarm in fleet_alarms(silent)] == ["engine 0 does not answer"]
    assert fleet_alarms([silent[0], replace(silent[1], attempt=2)]) == []


def test_the_view_has_rates_of_the_latest_attempt():
    earlier = replace(fleet_looks()[0], time="2025-12-31T00:00:00+00:00", attempt=0)
    shown = fleet_object([earlier, *fleet_looks()], [{"level": 3}])
    assert shown["seconds"] == [0, 10, 20]
    assert shown["engines"][0]["tokens_per_second"] == [None, 100, 100]
    assert shown["engines"][1]["tokens_per_second"] == [None, 0, 0]
    assert [engine["isolation"] for engine in shown["engines"]] == [3, None]
    assert shown["memory"] == [2200, 2201, 2202]


@pytest.mark.parametrize("isolation", [None, []])
def test_a_run_that_nobody_looked_at_has_an_empty_view(isolation):
    shown = fleet_object([], isolation)
    assert shown["look"] is None
    assert shown["engines"] == []
