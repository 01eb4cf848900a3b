"""Progress is a line a stage: live on a terminal, plain and sparse elsewhere, JSON or nothing if that is asked for."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from thor_ray import displays
from thor_ray.progress import Progress
from thor_ray.progress_format import ProgressFormat
from thor_ray.texts import claim_text, duration, figure_text, percent, policy_label


def test_without_a_terminal_lines_are_plain_and_sparse():
    out = io.StringIO()
    with Progress(Console(file=out, width=80)) as progress, progress.stage("rl", 100, ("reward",)) as stage:
        for _ in range(100):
            stage.advance({"reward": 0.5, "learner/entropy": 1.25})
    lines = out.getvalue().splitlines()
    assert lines == ["rl: starts", "rl: done in 0 s  reward 0.5"]
    assert "\x1b" not in out.getvalue()


def test_lines_tell_how_far_and_how_long(monkeypatch):
    monkeypatch.setattr(displays, "LINE_SECONDS", 0.0)
    out = io.StringIO()
    with Progress(Console(file=out, width=80)) as progress:
        with progress.stage("sft", 4) as stage:
            stage.reach(2, {"loss": 1.23456})
        with progress.stage("tirgen") as stage:
            stage.advance({"kept": 12_345})
    assert "sft: 2/4  loss 1.23  0 s left" in out.getvalue()
    assert "tirgen: 1  kept 12,345\n" in out.getvalue()


def test_a_total_may_become_known_on_the_way():
    with Progress(Console(file=io.StringIO())) as progress, progress.stage("sft") as stage:
        stage.reach(1)
        assert stage.seconds_left is None
        stage.reach(2, total=8)
        assert stage.seconds_left == pytest.approx(3 * stage.seconds, rel=0.5)


def test_a_terminal_shows_bars_and_figures():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Progress(console) as progress, progress.stage("rl", 2) as stage:
        stage.advance({"reward": 0.25})
    assert "reward 0.25" in out.getvalue()
    assert "━" in out.getvalue()


def test_a_terminal_shows_the_latest_reports_of_a_stage_as_a_table():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=40)
    with Progress(console) as progress, progress.stage("rl", 9, ("reward", "tokens")) as stage:
        for number in range(1, 8):
            stage.advance({"reward": number / 8, "tokens": None, "other": 1})
        out.seek(0)
        out.truncate()
        progress.say("the engine was replaced")
        table = out.getvalue()
    assert "reward" in table
    assert "tokens" in table
    assert "other" not in table
    assert [row for row in (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875) if str(row) in table] == [
        0.375,
        0.5,
        0.625,
        0.75,
        0.875,
    ]
    assert "the engine was replaced" in table
    assert "0.875" in out.getvalue()[len(table) :], "the last figures stay beside the bar"


def test_json_is_an_object_a_line_with_everything_that_people_are_told():
    out = io.StringIO()
    with Progress(Console(file=out, quiet=True), ProgressFormat.JSON) as progress:
        progress.say("dashboard: http://127.0.0.1:1")
        with progress.stage("rl", 2, ("reward",)) as stage:
            stage.advance({"reward": 0.25, "other": 1})
        progress.alarm("the policy has stopped calling the tool")
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["note", "stage_began", "stage_moved", "stage_ended", "alarm"]
    assert events[0]["text"] == "dashboard: http://127.0.0.1:1"
    assert (events[2]["stage"], events[2]["done"], events[2]["total"]) == ("rl", 1, 2)
    assert events[2]["figures"] == events[3]["figures"] == {"reward": 0.25}
    assert events[2]["seconds_left"] == pytest.approx(events[2]["seconds"], abs=0.1)
    assert events[4]["text"] == "the policy has stopped calling the tool"


def test_quiet_shows_alarms_only_and_not_on_standard_output(capsys):
    with Progress(Console(), ProgressFormat.QUIET) as progress, progress.stage("rl", 2) as stage:
        stage.advance({"reward": 0.25})
        progress.say("hello")
        progress.alarm("reward jumped while no_box fell")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "alarm: reward jumped while no_box fell\n"


def test_an_error_passes_through_and_leaves_the_terminal_alone():
    out = io.StringIO()

    def work() -> None:
        with Progress(Console(file=out, force_terminal=True)) as progress, progress.stage("rl", 2):
            raise RuntimeError("the engine died")

    with pytest.raises(RuntimeError, match="the engine died"):
        work()
    assert out.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


@given(st.floats(0, 1e6))
def test_a_duration_is_short_and_has_no_60th_second(seconds):
    text = duration(seconds)
    assert len(text) <= 12
    assert "60 s" not in text
    assert "60 min" not in text


def test_texts_for_people():
    assert [duration(s) for s in (7.4, 125, 4800)] == ["7 s", "2 min 05 s", "1 h 20 min"]
    assert [figure_text(v) for v in (None, 0.123456, 12, 123456.7, "x")] == ["–", "0.123", "12", "123,457", "x"]
    assert percent(None) == "–"
    assert percent(0.6154) == "61.5 %"
    assert policy_label("cold_start") == "cold start"
    claim = {"name": "gain", "value": 0.25, "relation": "at least", "threshold": 0.1, "holds": True}
    assert claim_text(claim) == "gain: 0.25 (at least 0.1)"
