"""The report of a study, from runs that were recorded without any model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.pages import Page
from tests.support.study import write_study_runs
from thor_ray.errors import UserError
from thor_ray.evaluation.paper import paper
from thor_ray.study.design import ROWS, Comparison
from thor_ray.study.report import write_study
from thor_ray.study.results import complete, read_results
from thor_ray.study.tables import study_sections


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "small"
    for seed in (0, 1, 2):
        write_study_runs(place, seed)
    return place


def cells(markdown: str, heading: str, label: str) -> list[str]:
    section = markdown.split(f"## {heading}")[1].split("\n## ", maxsplit=1)[0]
    (line,) = [line for line in section.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rows_are_read_off_the_runs_that_judged_them(place):
    results = read_results(place, ROWS)
    assert [result.seed for result in results] == [0, 1, 2]
    repairs = {row.label for row in ROWS if row.comparison is Comparison.REPAIR}
    assert set(results[0].rows) == {"T1", "T3", "T3c", "T3u", "T5", "T6"} | repairs
    assert results[0].rows["T3"].accuracy.value == 0.25
    assert results[2].rows["T5"].accuracy.value == 0.75


def test_seeds_without_a_row_are_left_out_of_its_pairs(place):
    results = read_results(place, ROWS)
    assert complete(results, ["T1", "T4"]) == []
    assert complete(results, ["T3", "T5"]) == results


def test_the_report_puts_ours_beside_the_papers(place):
    files = write_study(place, ROWS)
    assert {"study.json", "study.md", "study.html"} < {file.name for file in files}
    markdown = (place / "study.md").read_text()
    ablation = cells(markdown, "What each part adds", "T1")
    assert ablation[2:5] == ["0.0", "0.0–0.0", "3"]
    assert ablation[-2:] == ["24.7", "74.5"]
    corrected = cells(markdown, "What each part adds", "T6")
    assert corrected[5] == "T5"
    assert corrected[6] == "+25.0"
    assert corrected[-2:] == ["61.2", "79.8"]
    assert "3 seeds" in markdown
    assert [seed["seed"] for seed in json.loads((place / "study.json").read_text())["seeds"]] == [0, 1, 2]
    page = Page((place / "study.html").read_text())
    assert page.open == []
    assert "svg" in page.tags
    assert all(file.read_text().startswith("<svg") for file in place.glob("*.svg"))


def test_repair_strategies_stand_beside_the_papers(place):
    write_study(place, ROWS)
    section = (place / "study.md").read_text().split("## Repair strategies")[1].split("\n## ", maxsplit=1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| T"]
    assert [(row[0], row[1]) for row in rows] == [
        (base, strategy) for base in ("T3", "T5") for strategy in ("none", "action only", "step suffix", "full replan")
    ]
    by = {(row[0], row[1]): row for row in rows}
    assert by["T3", "none"][4] == "–"
    assert by["T3", "step suffix"][4] == "+25.0"
    assert by["T5", "none"][-2:] == ["59.7", "78.5"]
    assert by["T5", "full replan"][-2:] == ["60.4", "79.2"]


def test_selection_is_among_the_candidates_of_the_trained_policy(place):
    write_study(place, ROWS)
    text = (place / "study.md").read_text()
    for method in ("no selection", "self consistency", "self rewarded"):
        assert cells(text, "Choosing one of 2", method)[1] == "75.0"


def test_demonstrations_are_compared_with_plain_solutions(place):
    write_study(place, ROWS)
    text = (place / "study.md").read_text()
    heading = "Demonstrations against plain solutions"
    assert [cells(text, heading, label)[0] for label in ("T1", "T3", "T3u")] == ["T1", "T3", "T3u"]
    assert cells(text, heading, "T3")[2] == "100.0"


def test_the_time_of_a_seed_is_told_by_run_and_kind_of_stage(place):
    """Means over the seeds that have finished a run."""
    first, second, _ = read_results(place, ROWS)
    evaluations = {"evaluate_rl": 30.0, "evaluate_rl_self_correction": 90.0}
    results = [
        replace(first, seconds={"cold-start": {"tirgen": 60.0}, "hierarchical-rl": {"rl": 300.0} | evaluations}),
        replace(second, seconds={"cold-start": {"tirgen": 180.0}}),
    ]
    section = study_sections(results, ROWS, paper())[-1]
    assert section.title == "Where the time goes"
    assert section.tables[0].headings == ("minutes a seed", "TIRGen", "cold start", "RL", "evaluations", "together")
    assert [row.cells for row in section.tables[0].rows] == [
        ("cold-start", "2.0", "–", "–", "–", "2.0"),
        ("hierarchical-rl", "–", "–", "5.0", "2.0", "7.0"),
        ("all", "2.0", "–", "5.0", "2.0", "9.0"),
    ]


def test_nothing_to_report_is_said(tmp_path):
    with pytest.raises(UserError, match="no finished evaluation"):
        write_study(tmp_path, ROWS)
