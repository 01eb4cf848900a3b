"""Worked solutions in ordinary words, rewritten with the real sandbox, grader and tokenizer."""

import json

import pytest

from thor_ray.config import load_recipe
from thor_ray.errors import UserError
from thor_ray.problems import Problem
from thor_ray.refine.agreement import Agreement
from thor_ray.stages.worked_solutions import MESSAGES, REPORT, rewrite_solutions, write_rewritten
from thor_ray.tiny import base_model_path
from thor_ray.tirgen.inspection import STEPS

PRICES = Problem(
    "prices",
    "A pen costs $3 and a book $12. What do 4 pens and 2 books cost?",
    "36",
    "test",
    solution="The pens cost 4 pens * $3 = $12.\nThe books cost 2 x 12 = 24 dollars.\n"
    "Together they cost $12 + $24 = $36.\nThe answer is \\boxed{36}.",
)
EQUATION = Problem(
    "equation",
    "Two angles of $3x+6$ and 120 degrees form a line. What is $x$?",
    "18",
    "test",
    solution="They form a line, so $3x+6+120=180$.  Thus $3x=54$ and $x=\\boxed{18}$.",
)
MISTAKEN = Problem(
    "mistaken",
    "What is 7 times 8, plus 1?",
    "57",
    "test",
    solution="We have $7 \\cdot 8 = 54$.\nThen $54 + 1 = \\boxed{55}$.",
)
WORDS_ONLY = Problem("words", "How many corners has a square?", "4", "test", solution="A square has $\\boxed{4}$.")


@pytest.fixture(scope="module")
def rewritten():
    problems = [PRICES, EQUATION, MISTAKEN, WORDS_ONLY]
    heard: list[int] = []
    result = rewrite_solutions(problems, base_model_path(), load_recipe("smoke", []), 4096, on_progress=heard.append)
    assert heard == [1, 2, 3, 4]
    return problems, result


def test_programs_take_the_place_of_results_and_the_rest_stays(rewritten, tmp_path):
    problems, result = rewritten
    write_rewritten(result, problems, base_model_path(), tmp_path)
    rows = {row["problem_id"]: row for row in map(json.loads, (tmp_path / MESSAGES).read_text().splitlines())}
    assert set(rows) == {"prices", "equation", "mistaken"}
    question, response = (turn["content"] for turn in rows["prices"]["messages"])
    assert question == PRICES.question
    thoughts = [part.rpartition("```\n")[2] for part in response.split("```python")]
    assert thoughts[0].startswith("The pens cost 4 pens * $3.\nWe use ")
    assert thoughts[1].startswith("The books cost 2 x 12 dollars.\nWe use ")
    assert thoughts[3] == "The answer is \\boxed{36}."
    assert [response.count(f"```output\n{value}\n```") for value in (12, 24, 36)] == [1, 1, 1]


def test_a_wrong_result_is_replaced_in_all_that_follows(rewritten):
    _, result = rewritten
    (mistaken,) = [each for each in result.demonstrations if each.problem_id == "mistaken"]
    assert [claim.agreement for claim in mistaken.claims] == [Agreement.DIFFERENT, Agreement.DIFFERENT]
    assert mistaken.claims[1].expression == "56 + 1"
    assert mistaken.trajectory.answer == "57"


def test_everything_is_accounted_for(rewritten, tmp_path):
    problems, result = rewritten
    write_rewritten(result, problems, base_model_path(), tmp_path)
    report = json.loads((tmp_path / REPORT).read_text())
    assert (report["solutions"], report["steps"], report["steps_codable"]) == (4, 8, 6)
    assert (report["blocks"], report["blocks_ran"]) == (6, 6)
    assert report["agreements"] == {"same": 4, "different": 2}
    assert report["funnel"]["kept"] == 3
    steps = [json.loads(line) for line in (tmp_path / STEPS).read_text().splitlines()]
    assert {row["problem_id"]: row["rejected"] for row in steps} == {
        "prices": None,
        "equation": None,
        "mistaken": None,
        "words": "uses_code: no program",
    }
    assert sum(len(row["blocks"]) for row in steps) == 6
    (equation,) = [row for row in steps if row["problem_id"] == "equation"]
    assert equation["conclusion"] == "Thus $3x=54$ and $x=\\boxed{18}$."


def test_problems_without_solutions_are_refused_before_anything_runs():
    bare = Problem("bare", "What is 1 + 1?", "2", "test")
    with pytest.raises(UserError, match="1 of 2 problems have no worked solution, bare for one"):
        rewrite_solutions([PRICES, bare], base_model_path(), load_recipe("smoke", []), 4096)
