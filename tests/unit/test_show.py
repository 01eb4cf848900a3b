"""What the terminal shows of a trajectory: who wrote what, what trains, under which weights."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.runs import TOKENIZER, evaluation, trajectory, write_run
from thor_ray.config import Recipe
from thor_ray.errors import UserError
from thor_ray.records import Stage, read_trajectories
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog
from thor_ray.segments import printable
from thor_ray.show import Selection, print_list, print_trajectory, recent_rows, stage_named


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(write_run(tmp_path_factory.mktemp("runs") / "smoke"))


def shown(run: RunDirectory, trajectory_id: str, tokens: bool = False, colour: bool = False) -> str:
    out = io.StringIO()
    print_trajectory(run, trajectory_id, tokens, Console(file=out, width=160, force_terminal=colour))
    return out.getvalue()


def listed(run: RunDirectory, selection: Selection, limit: int = 50) -> str:
    out = io.StringIO()
    print_list(run, selection, limit, Console(file=out, width=200))
    return out.getvalue()


def test_a_trajectory_shows_its_text_mask_versions_and_log_probs(run):
    text = shown(run, "after/1")
    assert "┊ Find the greatest common divisor" in text
    assert "┃ The numbers are 36 and 108" in text
    assert "┃ print(gcd(36, 108))" in text
    assert "┊ 36" in text
    assert "┃ So the answer is \\boxed{36}." in text
    assert "version 3, log-prob mean -0.7" in text
    assert "answer 36 (gold 36), grade correct, reward 1" in text
    assert "→ ok, 4 ms" in text


def test_the_gutter_is_the_loss_mask(run):
    """Every line that is marked as trained was sampled, and every masked one was not."""
    lines = shown(run, "cold/1").splitlines()
    trained = "\n".join(line[2:] for line in lines if line.startswith("┃ ") and "the loss sees" not in line)
    masked = "\n".join(line[2:] for line in lines if line.startswith("┊ "))
    assert "```output" not in trained
    assert trained.count("```python") == 2
    assert masked.count("```output") == 2
    assert "NameError: name 'gcd' is not defined" in masked
    assert "→ exception NameError" in "\n".join(lines)


def test_a_step_continuation_shows_its_parent_and_trains_on_nothing_of_it(run):
    text = shown(run, "rl3/s0.1")
    assert "branches from rl3/e1.0 in step 0: tokens 0–89 are its prefix" in text
    assert "┊ The numbers are 36 and 108. I compute the\n" in text
    assert "┃ using math." in text
    assert "advantage –" in text
    assert "advantage -0.866" in shown(run, "rl3/e0.0")
    assert "excluded: failed_code" in shown(run, "rl3/e0.1")
    assert "dropped: zero_variance" in shown(run, "rl3/e1.0")


def test_attempts_that_were_cut_away_are_shown_where_they_stood(run):
    text = shown(run, "corrected/2")
    assert text.count("cut away at token 92: → exception NameError") == 2
    assert text.index("cut away") < text.index("from math import gcd")
    assert "versions 3–4" in text


def test_the_token_table_has_a_row_a_token(run):
    text = shown(run, "rl3/s0.1", tokens=True)
    (item,) = [t for t in read_trajectories(run.record_files(Stage.RL)) if t.id == "rl3/s0.1"]
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit() and "tokens" not in line]
    assert [int(row[1]) for row in rows] == list(item.ids)
    mask = item.loss_mask()
    for index, row in enumerate(rows):
        assert row[-3] == str(int(mask[index]))
        assert (row[-1] == "5") == bool(mask[index])
        assert row[-2] == (f"{item.log_probs[index]:.4f}" if mask[index] else "–")
    assert "'g'" in text


def test_colours_tell_the_kinds_apart_on_a_terminal(run):
    text = shown(run, "after/1", colour=True)
    assert "\x1b[36mThe numbers" in text
    assert "\x1b[32mprint" in text
    assert "\x1b[33m36" in text


def test_an_unknown_id_is_answered_with_the_nearest_ones(run):
    with pytest.raises(UserError, match="no trajectory 'corected/2'") as caught:
        shown(run, "corected/2")
    assert "corrected/2" in caught.value.remedy


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(stage=Stage.EVALUATE_BASE), {f"base/{n}" for n in range(8)}),
        (Selection(stage=Stage.EVALUATE_RL, status="wrong"), {f"after/{n}" for n in range(0, 24, 5)}),
        (Selection(stage=Stage.EVALUATE_RL, status="failed-code"), set()),
        (Selection(kind="step"), {f"rl{n}/s0.{m}" for n in range(12) for m in range(2)}),
    ],
)
def test_the_list_is_filtered(run, selection, expected):
    assert {row["trajectory_id"] for row in recent_rows(run, selection, 50)} == expected
    text = listed(run, selection)
    assert all(name in text for name in expected)
    assert expected or "no such trajectory" in text


def test_the_list_is_of_the_latest_and_no_longer_than_asked(run):
    rows = recent_rows(run, Selection(), 5)
    assert [row["trajectory_id"] for row in rows] == [f"corrected/{n}" for n in range(5)]


def test_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="no stage 'lr'") as caught:
        stage_named("lr")
    assert "evaluate_rl_self_correction" in caught.value.remedy


def test_records_without_text_and_tokenizer_still_show_their_ids(tmp_path):
    with RunLog.create(tmp_path / "r", Recipe(), "eval") as log:
        log.record_groups(evaluation(Stage.EVALUATE, [trajectory("t")]), Stage.EVALUATE, 0)
    assert "┊ ids 37 72" in shown(log, "t")
    assert "–" in shown(log, "t", tokens=True)
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    (Path(log.path) / "tokenizer").mkdir()
    (tmp_path / "tokenizer.json").rename(log.tokenizer / "tokenizer.json")
    assert "┊ Find the greatest" in shown(log, "t")


def test_what_a_policy_writes_cannot_drive_the_terminal(tmp_path):
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    with RunLog.create(tmp_path / "r", Recipe(), "eval") as log:
        log.keep_tokenizer(tmp_path)
        item = trajectory("t", extra="\x1b]0;owned\x07\x9b31m\u202e[bold]not markup[/bold]")
        log.record_groups(evaluation(Stage.EVALUATE, [item]), Stage.EVALUATE, 0)
    text = shown(log, "t")
    assert "␛]0;owned␇\\x9b31m\\u202e[bold]not markup[/bold]" in text
    assert not any(character in text for character in "\x1b\x07\x9b\u202e")


def test_printable_keeps_ordinary_text():
    text = "Σ x² ≤ 3\n\tprint('ünïcödé 漢字 🙂')"
    assert printable(text) == text
