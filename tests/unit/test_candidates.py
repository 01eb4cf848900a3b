"""Of several solutions one is chosen, shown and explained; what is shown is what was chosen."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from tests.support.runs import FAILED, OK, TOKENIZER, trajectory
from thor_ray.candidates import Choice, candidate_line, choice_fields, choose_solution, print_choice
from thor_ray.evaluation.answers import same_text
from thor_ray.evaluation.selection import Method
from thor_ray.trajectory import ExecutionResult, ExecutionStatus, Trajectory

LOST = ExecutionResult(ExecutionStatus.INFRA_ERROR, "")


def solutions() -> list[Trajectory]:
    """One with a failure, two right ones that ran, one wrong one that ran, one without an answer."""
    return [
        trajectory("0", results=(FAILED, OK), answer="12"),
        trajectory("1", results=(OK,), answer="18"),
        trajectory("2", results=(OK, OK), answer="36"),
        trajectory("3", results=(OK, LOST), answer="36"),
        replace(trajectory("4", results=(FAILED,)), answer=None),
    ]


def chosen_by(method: Method, scores: list[float] | None = None) -> Choice:
    return choose_solution(solutions(), method, same_text, scores=scores)


def printed(choice: Choice) -> str:
    out = StringIO()
    print_choice(choice, Console(file=out, width=100))
    return out.getvalue()


def test_code_success_then_the_majority_then_the_order_decide() -> None:
    choice = chosen_by(Method.SELF_REWARDED)
    assert choice.chosen.id == "2"
    assert choice.why == (
        "the highest share of successful code: 2, 3, 4; of these the most frequent answer: 3, 4; of these the first: 3"
    )


def test_a_reward_model_decides_where_it_is_asked() -> None:
    scores = [9.0, 1.0, 2.0, 3.0, 0.0]
    assert chosen_by(Method.EXTERNAL, scores).chosen.id == "0"
    choice = chosen_by(Method.SELF_REWARDED_EXTERNAL, scores)
    assert choice.chosen.id == "3"
    assert choice.why.endswith("of these the reward model's highest score: 4")
    with pytest.raises(ValueError, match="needs the scores"):
        chosen_by(Method.EXTERNAL)


def test_one_solution_is_no_choice() -> None:
    choice = choose_solution(solutions()[:1], Method.SELF_REWARDED, same_text)
    assert (choice.chosen.id, choice.why) == ("0", "there is no other candidate")


def test_the_table_marks_the_chosen_one_and_counts_what_was_executed() -> None:
    lines = printed(chosen_by(Method.SELF_REWARDED)).splitlines()
    assert lines[0].split() == ["candidate", "answer", "calls", "passed", "tokens", "chosen"]
    cells = [line.split() for line in lines[1:6]]
    assert [row[:4] for row in cells] == [
        ["1", "12", "2", "1"],
        ["2", "18", "1", "1"],
        ["3", "36", "2", "2"],
        ["4", "36", "1", "1"],
        ["5", "none", "1", "0"],
    ]
    assert [number for number, row in enumerate(cells) if row[-1] == "◀"] == [2]
    assert "score" in printed(chosen_by(Method.EXTERNAL, [1.0] * 5))


def test_answers_cannot_act_on_the_terminal_or_break_the_table() -> None:
    wild = replace(solutions()[0], answer="\x1b[2J[red]" + "9\n" * 50)
    text = printed(choose_solution([wild], Method.SELF_CONSISTENCY, same_text))
    assert "\x1b" not in text + candidate_line(0, wild)
    assert "[red]" in text
    assert max(map(len, text.splitlines())) < 100
    assert candidate_line(2, solutions()[2]).startswith("candidate 3: answer 36; 2 of 2 programs ran")


def test_json_has_all_candidates_the_choice_and_why() -> None:
    choice = chosen_by(Method.SELF_REWARDED_EXTERNAL, [0.0, 0.5, 1.0, 0.25, 9.0])
    tree = json.loads(json.dumps(choice_fields(choice, lambda ids: str(TOKENIZER.decode(list(ids))))))
    assert [one["chosen"] for one in tree["solutions"]] == [False, False, True, False, False]
    assert [(one["index"], one["calls"], one["passed"], one["score"]) for one in tree["solutions"]] == [
        (0, 2, 1, 0.0), (1, 1, 1, 0.5), (2, 2, 2, 1.0), (3, 1, 1, 0.25), (4, 1, 0, 9.0),
    ]  # fmt: skip
    assert tree["solutions"][2]["answer_class"] == tree["solutions"][3]["answer_class"]
    assert tree["choice"] == {
        "method": "self_rewarded_external",
        "index": 2,
        "answer": "36",
        "rounds": [{"by": "code_success", "left": [1, 2, 3]}, {"by": "reward_model", "left": [2]}],
        "why": choice.why,
    }
