"""Reports say the same in JSON, Markdown and on a page that asks for nothing from outside."""

import dataclasses
import re
from itertools import pairwise

import pytest

from tests.support.evaluations import ABOUT, full_samples, sample, samples
from tests.support.pages import Page
from thor_ray.charts import difference_chart, stacked_chart
from thor_ray.config import RepairStrategy
from thor_ray.evaluation.analysis import evaluation_report
from thor_ray.evaluation.comparison import comparison_report
from thor_ray.evaluation.evaluation_tables import evaluation_sections
from thor_ray.evaluation.figures import ComparisonReport, EvaluationReport
from thor_ray.evaluation.markdown import comparison_markdown, escape, evaluation_markdown
from thor_ray.evaluation.page import comparison_page, evaluation_page
from thor_ray.evaluation.samples import JudgeVerdict, TokenUse
from thor_ray.evaluation.writers import write_comparison, write_evaluation
from thor_ray.grading import GradeStatus

ACCEPTED = JudgeVerdict(judge="qwen", status=GradeStatus.CORRECT)


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    rows = full_samples() + full_samples(10, 2, benchmark="aime2024")
    rows += [dataclasses.replace(row, strategy=RepairStrategy.STEP_SUFFIX) for row in full_samples(shift=2)]
    return evaluation_report(rows, ABOUT, resamples=200)


@pytest.fixture(scope="module")
def comparison() -> ComparisonReport:
    a = full_samples() + full_samples(10, 1, benchmark="aime2024")
    b = full_samples(shift=2) + full_samples(12, 1, benchmark="aime2024")
    other = ABOUT.model_copy(update={"name": "theirs", "settings": {"model": "large", "seed": "7"}})
    return comparison_report(a, b, ABOUT, other, resamples=200)


def assert_asks_for_nothing(text: str) -> Page:
    page = Page(text)
    assert page.open == []
    assert page.references == ["data:,"]
    assert "script" not in page.tags
    assert not re.search(r"(?:https?:)?//\w|url\(|@import", text)
    return page


def test_the_page_of_an_evaluation_has_all_its_parts(report):
    page = assert_asks_for_nothing(evaluation_page(report))
    for words in (
        "Accuracy", "MATH500, step suffix", "AIME 2024", "pass@k", "self-rewarded (code success)", "code ratio",
        "χ² within problems", "cut away", "Subjects and levels", "Geometry", "Beside the paper", "THOR-7B",
        "arXiv 2509.13761v3", "model", "tiny",
    ):  # fmt: skip
        assert words in page.text, words
    # Accuracy, verdicts, a curve for each of three parts, levels and subjects of each.
    assert page.tags.count("svg") == 2 + 3 + 6


def test_the_page_of_a_comparison_has_all_its_parts(comparison):
    page = assert_asks_for_nothing(comparison_page(comparison))
    for words in (
        "ours against theirs",
        "b − a",
        "mean of 2",
        "exact McNemar test",
        "exact sign test",
        "Settings",
        "large",
    ):
        assert words in page.text, words
    assert page.tags.count("svg") == 3


def test_markdown_has_the_same_tables(report, comparison):
    for text, page in (
        (evaluation_markdown(report), evaluation_page(report)),
        (comparison_markdown(comparison), comparison_page(comparison)),
    ):
        separators = [line for line in text.split("\n") if line.startswith("| ---")]
        settings_as_list = "<dl>" in page
        assert len(separators) == Page(page).tags.count("table") + settings_as_list
        rows = [line for line in text.split("\n") if line.startswith("|")]
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
        assert min(widths) >= 3
        for above, below in pairwise(rows):
            if below.startswith("| ---"):
                assert len(re.findall(r"(?<!\\)\|", above)) == len(re.findall(r"(?<!\\)\|", below))


def table_rows(report: EvaluationReport, title: str) -> list[dict[str, str]]:
    """The rows of a section's only table, by heading; of equal headings the first counts."""
    [section] = [one for one in evaluation_sections(report) if one.title == title]
    [table] = section.tables
    pairs = [list(zip(table.headings, row.cells, strict=True)) for row in table.rows]
    return [dict(reversed(one)) for one in pairs]


def test_choices_stand_between_a_random_candidate_and_the_best_there_is_with_their_cost():
    rows = table_rows(evaluation_report(full_samples(), ABOUT, resamples=200), "Choosing one candidate")
    assert [row["chosen by"] for row in rows] == [
        "any one",
        "self-consistency (majority)",
        "self-rewarded (code success)",
        "reward model",
        "self-rewarded, ties by reward model",
        "the best there is",
    ]
    assert [row["candidates"] for row in rows] == ["1", "4", "4", "4", "4", "4"]
    assert float(rows[1]["tokens"]) == pytest.approx(4 * float(rows[0]["tokens"]), rel=0.02)
    assert rows[1]["over majority"] == "0.0"
    assert all(re.fullmatch(r"[+−]?\d+\.\d", row["gain"]) for row in rows[1:-1])


def test_a_judges_opinion_has_a_section_of_its_own_and_reuse_a_column():
    rows = full_samples()
    asked = [row if row.correct else dataclasses.replace(row, judge=ACCEPTED) for row in rows]
    report = evaluation_report(asked, ABOUT, resamples=200)
    [second] = table_rows(report, "Second opinion")
    assert (second["by rules"], second["by rules or judge"], second["judge"]) == ("60.0 %", "100.0 %", "qwen")
    assert table_rows(report, "Cost")[0]["cached"] == "–"
    counted = [dataclasses.replace(row, tokens=TokenUse(generated=9, prompt=80, cached=60)) for row in rows]
    assert table_rows(evaluation_report(counted, ABOUT, resamples=200), "Cost")[0]["cached"] == "75.0 %"


def test_files_are_written_side_by_side_and_the_same_again(tmp_path, report, comparison):
    paths = [*write_evaluation(tmp_path / "r", report), *write_comparison(tmp_path / "r", comparison)]
    assert [path.name for path in paths] == [
        "report.json", "report.md", "report.html", "comparison.json", "comparison.md", "comparison.html",
    ]  # fmt: skip
    assert EvaluationReport.model_validate_json(paths[0].read_text()) == report
    assert ComparisonReport.model_validate_json(paths[3].read_text()) == comparison
    before = [path.read_bytes() for path in paths]
    write_evaluation(tmp_path / "r", report)
    write_comparison(tmp_path / "r", comparison)
    assert [path.read_bytes() for path in paths] == before


def test_names_cannot_act_on_the_page():
    about = ABOUT.model_copy(update={"name": "<script>alert(1)</script>", "settings": {"<b>": "<img src=x>"}})
    rows = [
        sample(f"<i>{number}</i>|`", 0, number % 2 == 0, benchmark="<u>bench</u>", subject="<a>") for number in range(9)
    ]
    other = [dataclasses.replace(row, status=rows[index - 1].status) for index, row in enumerate(rows)]
    page = assert_asks_for_nothing(evaluation_page(evaluation_report(rows, about, resamples=100)))
    assert "<u>bench</u>" in page.text
    assert_asks_for_nothing(comparison_page(comparison_report(rows, other, about, about, resamples=100)))
    markdown = comparison_markdown(comparison_report(rows, other, about, about, resamples=100))
    assert "<script" not in markdown.replace("\\<", "")


def test_reports_without_code_tokens_or_the_papers_benchmarks_leave_those_parts_out():
    text = evaluation_markdown(evaluation_report(samples([[True], [False]], benchmark="mine"), ABOUT, resamples=100))
    for words in ("## Code", "## Cost", "## More samples", "## Choosing", "Beside the paper", "χ²"):
        assert words not in text
    assert "| mine | 50.0 % |" in text


def test_ours_stand_beside_the_papers_on_the_benchmarks_that_both_have(report):
    text = evaluation_markdown(report)
    beside = text[text.index("## Beside the paper") :]
    first = beside[beside.index("Accuracy of published models") :].split("\n\n")[1].split("\n")
    assert first[0] == "|  | MATH500 | AIME 2024 |"
    assert first[2].startswith("| **ours, avg@2 to 4** | **60.0** | **60.0** |")
    assert "| THOR-7B | 87.5 | 50.0 |" in first
    assert "| AutoTIR-7B (official) | 62.6 | 33.3 |" in first
    assert "Repair strategies (paper, table 5)" in beside
    assert "4.1e-75" in beside


def test_the_mean_stands_beside_the_papers_only_with_all_six_benchmarks():
    six = ("math500", "aime2024", "aime2025", "amc2023", "minerva_math", "olympiadbench")
    rows = [row for name in six for row in samples([[True], [False]], benchmark=name)]
    text = evaluation_markdown(evaluation_report(rows, ABOUT, resamples=100))
    header = "|  | MATH500 | AIME 2024 | AIME 2025 | AMC 2023 | Minerva Math | OlympiadBench | average |"
    assert header in text
    assert "| **ours, avg@1** | **50.0** |" in text
    assert "| THOR-7B | 87.5 | 50.0 | 33.3 | 81.3 | 53.9 | 61.1 | 61.2 |" in text


def test_markdown_text_means_itself():
    assert escape("a|b\nc *d* [e](f) `g` <h>") == r"a\|b c \*d\* \[e\](f) \`g\` \<h\>"


def test_difference_charts_are_centred_on_zero_and_need_no_limits():
    svg = difference_chart("title", [("up", 0.03, 0.01, 0.05), ("down", -0.04, None, None)])
    assert svg.count("<circle") == 2
    assert svg.count('class="interval') == 1
    assert 'class="zero"' in svg
    for tick in ("−5", "−2.5", ">0<", "+2.5", "+5"):
        assert tick in svg
    assert "−4.0" in svg


def test_stacked_bars_fill_their_row():
    svg = stacked_chart("title", [("a", [("correct", 0.25), ("wrong", 0.75)])])
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', svg)]
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.1)
    assert "25.0 %" in svg
