"""The studies shown in docs: their reports are what this version makes of their figures."""

from pathlib import Path

import pytest

from thor_ray.study.design import KNOBS, ROWS
from thor_ray.study.report import write_study

DOCS = Path(__file__).parents[3] / "docs"
FILES = sorted(DOCS.glob("*/study.json"))


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


def test_the_documentation_names_every_knob():
    lines = (DOCS / "study.md").read_text().splitlines()
    table = lines[lines.index("| `--knob` | settings beside the recipe's own |") + 2 :]
    assert [line.split("`")[1] for line in table[: table.index("")]] == list(KNOBS)
