"""Seeds that were run on several machines, or days, make one report."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.study import write_study_runs
from thor_ray.errors import UserError
from thor_ray.study.design import ROWS
from thor_ray.study.elsewhere import file_text, read_file, together
from thor_ray.study.report import write_study
from thor_ray.study.results import SeedResult, read_results


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All seeds at one place, and the same ones at two."""
    root = tmp_path_factory.mktemp("runs")
    for name, seeds in {"all": (0, 1, 2), "here": (0, 2), "there": (1,)}.items():
        for seed in seeds:
            write_study_runs(root / name / "small", seed)
    return {name: root / name / "small" for name in ("all", "here", "there")}


def figures(place: Path) -> list[str]:
    """Lines of the report that tell of policies, not of seconds."""
    text = (place / "study.md").read_text().partition("## Where the time goes")[0]
    return [line for line in text.splitlines() if line.startswith(("|", "#"))]


def test_a_report_of_seeds_from_two_places_is_that_of_one(places):
    for name in ("all", "there"):
        write_study(places[name], ROWS)
    write_study(places["here"], ROWS, [places["there"] / "study.json"])
    assert len(figures(places["all"])) > 20
    assert figures(places["here"]) == figures(places["all"])


def test_a_report_can_be_written_again_from_its_file_alone(places, tmp_path):
    write_study(places["all"], ROWS)
    write_study(tmp_path / "small", ROWS, [places["all"] / "study.json"])
    for name in ("study.json", "study.md"):
        assert (tmp_path / "small" / name).read_text() == (places["all"] / name).read_text()


def test_what_is_written_is_read_again(places):
    results = read_results(places["all"], ROWS)
    path = places["all"].parent / "copy.json"
    path.write_text(file_text(results))
    assert read_file(path) == results
    assert len(path.read_text().splitlines()) == 2 + len(results)


def test_no_seed_counts_twice(places):
    write_study(places["there"], ROWS)
    with pytest.raises(UserError, match=r"seed 1 of .*study\.json is among the others"):
        together(read_results(places["all"], ROWS), [places["there"] / "study.json"])


def test_seeds_of_other_settings_are_refused(places, tmp_path):
    here = read_results(places["here"], ROWS)
    other: SeedResult = replace(here[0], seed=7, origin=replace(here[0].origin, settings={"cold-start": "changed"}))
    path = tmp_path / "study.json"
    path.write_text(file_text([other]))
    with pytest.raises(UserError, match="seeds 0 and 7 were run with different settings of cold-start"):
        together(here, [path])


def test_a_seed_and_where_its_model_lies_are_no_settings(places):
    first, second = read_results(places["here"], ROWS)
    assert first.origin.settings == second.origin.settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not the study.json of a study: the whole"),
        ("[]", "is not the study.json of a study"),
        (json.dumps({"version": 2, "seeds": []}), "version"),
        (json.dumps({"version": 1, "seeds": [{"seed": 0}]}), r"seeds\.0\."),
    ],
)
def test_another_file_is_refused_with_the_place_that_is_wrong(tmp_path, content, message):
    path = tmp_path / "study.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json cannot be read"):
        read_file(tmp_path / "nowhere.json")
