"""The studies shown in docs: their reports are what this version makes of their figures."""

from pathlib import Path

import pytest

from thor_ray.study.design import ROWS
from thor_ray.study.report import write_study

FILES = sorted((Path(__file__).parents[3] / "docs").glob("*/study.json"))


def test_a_study_is_shown():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_shown_report_can_be_made_again_from_its_figures(file, tmp_path):
    place = tmp_path / file.parent.name
    write_study(place, ROWS, [file])
    shown = sorted(file.parent.iterdir())
    assert {path.suffix for path in shown} == {".json", ".md", ".svg"}
    for path in shown:
        assert (place / path.name).read_text() == path.read_text(), path.name
