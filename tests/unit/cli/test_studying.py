"""``thor study`` reports what is there, and refuses what it does not know."""

from pathlib import Path

import pytest

import thor_ray.cli.app as cli
from tests.support.study import write_study_runs


def study(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """Exit code and all that was printed."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", *arguments])
    out = capsys.readouterr()
    return ended.value.code, out.out + out.err


def test_the_report_shows_knobs_that_are_finished_though_nobody_names_them_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        write_study_runs(Path("runs/study"), seed, ["denominator"])
    code, _ = study(capsys, "--report-only")
    assert code == 0
    report = Path("runs/study/study.md").read_text().replace("\\_", "_")
    assert "| K denominator=per_level | T5 with denominator=per_level |" in report
    assert "| K denominator=per_level, c |" in report
    assert "K suffix_tokens" not in report


@pytest.mark.parametrize(
    ("arguments", "known"),
    [(["--row", "T9"], "'K denominator=per_level'"), (["--knob", "denominators"], "denominator, release")],
)
def test_what_is_not_known_is_refused_with_what_is(tmp_path, monkeypatch, capsys, arguments, known):
    monkeypatch.chdir(tmp_path)
    code, printed = study(capsys, *arguments)
    assert code == 2
    assert arguments[1] in printed
    assert known in " ".join(printed.split())
    assert list(tmp_path.iterdir()) == []
