"""What is shown of a trajectory is what the records hold, made harmless."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.runs import FAILED, OK, TOKENIZER, continuation, encode, trajectory
from thor_ray.dashboard.details import pieces, tokens_object, trajectory_object
from thor_ray.dashboard.families import spread
from thor_ray.dashboard.highlighting import MAX_CHARACTERS, highlighted
from thor_ray.dashboard.series import flattened, stage_series
from thor_ray.records import Learned, Record, Stage
from thor_ray.run_directory import MetricsLine
from thor_ray.segments import printable
from thor_ray.trajectory import GroupKind


def decode(ids):
    return str(TOKENIZER.decode(list(ids), skip_special_tokens=False))


def record(item, **learned):
    return Record(item, "g", GroupKind.EPISODE, None, Stage.RL, 0, learned=Learned(**learned))


@given(st.text())
def test_pieces_of_whole_text_concatenate_to_it(text):
    assert "".join(pieces(encode(text), decode)) == printable(decode(encode(text)))


@given(st.lists(st.integers(0, 255), max_size=30))
def test_any_tokens_have_a_piece_each(ids):
    assert len(pieces(ids, decode)) == len(ids)


@given(st.text() | st.text("`pythonif \n'\"#0x:", max_size=60))
def test_highlighting_changes_no_text(text):
    for program in (text, f"```python\n{text}\n```"):
        assert "".join(piece for _, piece in highlighted(program)) == program


def test_programs_are_coloured_unless_they_are_too_long():
    assert ("k", "for") in highlighted("```python\nfor x in y: pass\n```")
    assert highlighted("0" * (MAX_CHARACTERS + 1)) == [("", "0" * (MAX_CHARACTERS + 1))]


def test_tokens_carry_what_the_records_hold():
    item = trajectory("a", results=(FAILED, OK))
    proximal = item.log_probs + np.float32(0.5)
    shown = tokens_object(record(item, proximal_log_probs=proximal), decode)
    assert shown["mask"] == item.loss_mask().tolist()
    for index, version in enumerate(item.versions):
        sampled = version >= 0
        assert shown["versions"][index] == (version if sampled else None)
        assert shown["gaps"][index] == (pytest.approx(0.5, abs=1e-4) if sampled else None)
        assert (shown["log_probs"][index] is None) != sampled
    assert tokens_object(record(item), None)["texts"] == [None] * len(item.ids)


def test_segments_tile_the_trajectory_and_carry_results_and_attempts():
    shown = trajectory_object(record(trajectory("a", results=(FAILED, OK), corrected=2)), decode)
    bounds = [(one["start"], one["end"]) for one in shown["segments"]]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == shown["tokens"]
    assert all(before[1] == after[0] for before, after in pairwise(bounds))
    assert [one["result"]["status"] for one in shown["segments"] if one["result"]] == ["exception", "ok"]
    assert sum(len(one["attempts"]) for one in shown["segments"]) == 2
    assert shown["trained_tokens"] == sum(one["end"] - one["start"] for one in shown["segments"] if one["trained"])


def test_a_branch_shows_its_prefix_as_masked():
    parent = trajectory("a", results=(FAILED,))
    shown = trajectory_object(record(continuation("b", parent)), decode)
    assert shown["parent"] == {"trajectory_id": "a", "step_index": 0, "cut": parent.steps[0].thought.end - 8}
    assert all(
        one["trained"] == (one["start"] >= shown["parent"]["cut"] and one["kind"] != "observation")
        for one in shown["segments"]
    )


def test_what_acts_on_a_terminal_is_shown_instead():
    shown = trajectory_object(record(trajectory("a", extra="\x1b[31m\u202e")), decode)
    text = "".join(one["text"] for one in shown["segments"])
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "␛[31m\\u202e" in text


def test_lines_of_one_round_are_one_point():
    def line(stage, number, **metrics):
        return MetricsLine("2026-01-01T00:00:00", 1, stage, number, metrics)

    lines = [
        line("rl", 1, b=3),
        line("rl", 0, a=1),
        line("rl", 0, b=2),
        line("rl", None, total=9),
        line("x", 0, c={"d": 4}),
    ]
    found = stage_series(lines)
    assert found["rl"]["rounds"] == [0, 1]
    assert found["rl"]["values"] == {"a": [1, None], "b": [2, 3]}
    assert found["x"]["values"] == {"c/d": [4]}


def test_only_numbers_and_intervals_are_figures():
    assert flattened({"a": 1.5, "b": "x", "c": True, "d": [0.1, 0.2], "e": None, "f": [1, 2, 3]}) == {
        "a": 1.5,
        "d": [0.1, 0.2],
        "e": None,
    }


@given(st.lists(st.floats(-1, 1), max_size=9))
def test_the_spread_lies_within_the_range(rewards):
    found = spread(rewards)
    if not rewards:
        assert found is None
    else:
        assert found is not None
        assert found["min"] - 1e-9 <= found["mean"] <= found["max"] + 1e-9
        assert found["deviation"] <= (found["max"] - found["min"]) / 2 + 1e-9
