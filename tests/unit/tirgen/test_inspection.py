"""Steps written, read back, chosen and shown."""

import dataclasses
import json

import pytest

from tests.unit.demonstrations.examples import EXCEPTION, OK, demonstration
from thor_ray.demonstrations import Block, CheckedClaim, RefinedStep
from thor_ray.errors import UserError
from thor_ray.refine import OperationKind, Verdict
from thor_ray.tirgen.export import message_row, sharegpt_row, step_rows
from thor_ray.tirgen.inspection import (
    FOLDER,
    STEPS,
    Wanted,
    candidate_text,
    candidates_page,
    chosen,
    read_candidates,
    steps_file,
)

WORDS = RefinedStep(0, "We <b>think</b>.", Verdict.NO_CLAIM, "We <b>think</b>.")
WRONG = RefinedStep(
    1,
    "3 * 4 = 13",
    Verdict.CODABLE,
    "",
    (Block("print(3 * four)", EXCEPTION, "NameError"), Block("print(3 * 4)", OK, "12")),
    CheckedClaim("3 * 4", "13", "12"),
    OperationKind.INTEGER_ARITHMETIC,
)


@pytest.fixture
def place(tmp_path):
    wrong = dataclasses.replace(demonstration("wrong", "p"), steps=(WORDS, WRONG))
    words = dataclasses.replace(demonstration("words", "q"), steps=(WORDS,))
    empty = demonstration("empty", "r", blocks=())
    rows = [*step_rows(wrong, None), *step_rows(words, "uses_code: no program"), *step_rows(empty, "boxed: no box")]
    (tmp_path / STEPS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def ids(place, wanted):
    return [each.id for each in chosen(read_candidates(place / STEPS), wanted, None)[0]]


def test_candidates_come_back_whole_and_in_order_also_those_without_steps(place):
    first, second, third = read_candidates(place / STEPS)
    assert (first.id, first.problem_id, first.rejected, len(first.steps)) == ("wrong", "p", None, 2)
    assert (second.rejected, third.rejected) == ("uses_code: no program", "boxed: no box")
    assert [step["text"] for step in third.steps] == [""]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), ["wrong", "words", "empty"]),
        (Wanted(kept=True), ["wrong"]),
        (Wanted(kept=False), ["words", "empty"]),
        (Wanted(rule="uses_code"), ["words"]),
        (Wanted(problem="r"), ["empty"]),
        (Wanted(verdict="codable"), ["wrong"]),
        (Wanted(agreement="different"), ["wrong"]),
        (Wanted(agreement="same"), []),
        (Wanted(kept=False, verdict="codable"), []),
    ],
)
def test_candidates_are_chosen_by_all_conditions(place, wanted, found):
    assert ids(place, wanted) == found


def test_a_limit_still_counts_what_it_hides(place):
    shown, matching, total = chosen(read_candidates(place / STEPS), Wanted(kept=False), 1)
    assert ([each.id for each in shown], matching, total) == (["words"], 2, 3)


def test_a_candidate_is_told_step_by_step(place):
    text = candidate_text(next(read_candidates(place / STEPS))).plain
    parts = ["kept", "no_claim", "codable, integer_arithmetic", "3 * 4 = 13", "NameError  [exception]", "12  [ok]"]
    positions = [text.index(part) for part in [*parts, "3 * 4: stated 13, printed 12 (different)"]]
    assert positions == sorted(positions)


def test_the_page_shows_text_as_text(place):
    page = candidates_page("a run", list(read_candidates(place / STEPS)), 3)
    assert "We &lt;b&gt;think&lt;/b&gt;." in page
    assert "<b>think" not in page
    assert page.count("<h2>") == 3
    assert '<p class="bad">3 * 4: stated 13, printed 12 (different)</p>' in page


def test_the_file_is_found_in_runs_and_beside_reports(place, tmp_path):
    assert steps_file(place) == steps_file(place / STEPS) == place / STEPS
    run = tmp_path / "run"
    (run / FOLDER).mkdir(parents=True)
    (run / FOLDER / STEPS).touch()
    assert steps_file(run) == run / FOLDER / STEPS
    with pytest.raises(UserError, match=r"holds no steps\.jsonl"):
        steps_file(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("line", "message"), [("{torn", r"steps\.jsonl:1 is not JSON"), ('{"id": 1}', "lacks blocks, claim")]
)
def test_files_of_another_kind_are_refused_by_line(tmp_path, line, message):
    (tmp_path / STEPS).write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        list(read_candidates(tmp_path / STEPS))


def test_demonstrations_are_exported_as_messages_and_as_conversations():
    def decode(ids):
        return "".join(map(chr, ids))

    kept = demonstration()
    row = message_row(kept, "How many?", decode)
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1]["content"] == kept.response
    assert row["messages"][1]["content"].endswith("The answer is \\boxed{12}.")
    conversation = sharegpt_row(row)
    assert conversation["conversations"] == [
        {"from": "human", "value": "How many?"},
        {"from": "gpt", "value": kept.response},
    ]
    assert "messages" not in conversation
