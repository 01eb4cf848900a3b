"""The report says what the records say, again and again, and its page refers to nothing outside itself."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.pages import Page
from tests.support.runs import GOLD, TOKENIZER, evaluation, trajectory, write_run
from thor_ray.charts import CHARACTER_WIDTH, WIDTH, Series, interval_chart, line_chart, nice_ceiling, standalone
from thor_ray.config import Recipe
from thor_ray.records import Stage, read_records
from thor_ray.report import build_report, sample_rows, weight_figures, write_report
from thor_ray.report_markdown import fenced
from thor_ray.run_directory import MetricsLine, RunDirectory
from thor_ray.runlog import RunLog

SVG = "{http://www.w3.org/2000/svg}"
STAGE_KEYS = {"pass_at_1", "pass_at_1_interval", "code_ratio", "code_pass_rate", "problems", "samples_per_problem"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(write_run(tmp_path_factory.mktemp("runs") / "smoke"))


def test_the_report_has_its_shape_and_the_figures_of_the_records(run):
    report = write_report(run)
    assert json.loads(run.report_json.read_text()) == report
    assert list(report["stages"]) == ["base", "cold_start", "rl", "rl_self_correction"]
    assert all(set(stage) >= STAGE_KEYS for stage in report["stages"].values())
    assert report["stages"]["cold_start"]["pass_at_1"] == 0.5
    assert report["stages"]["cold_start"]["code_pass_rate"] == 0.5
    assert report["stages"]["base"]["code_pass_rate"] is None
    assert report["stages"]["rl_self_correction"]["code_pass_rate"] == 1
    assert report["stages"]["rl_self_correction"]["discarded_attempts"] == 24
    assert report["seed"] == 7
    assert report["weights"] == {"published": 12, "verified": 12, "max_logprob_gap": 2.5e-6}
    assert report["trajectories"] == {
        "episode": 72,
        "step": 24,
        "dropped": {"failed_code": 12, "zero_variance": 24},
    }
    assert set(report["seconds"]) == {*run.state().stages, "total"}
    assert report["versions"]["thor-ray"]
    assert all(claim["holds"] for claim in report["claims"])
    assert {"name", "value", "threshold", "holds"} <= set(report["claims"][0])


def test_what_each_policy_adds_is_paired_with_the_one_before(run):
    gains = build_report(run)["gains"]
    assert [(gain["policy"], gain["over"]) for gain in gains] == [
        ("cold_start", "base"),
        ("rl", "cold_start"),
        ("rl_self_correction", "rl"),
    ]
    stages = build_report(run)["stages"]
    for gain in gains:
        added = stages[gain["policy"]]["pass_at_1"] - stages[gain["over"]]["pass_at_1"]
        assert gain["difference"] == pytest.approx(added)
        assert gain["low"] <= gain["difference"] <= gain["high"]


def test_costs_are_the_sums_of_what_trajectories_cost(run):
    costs = {cost["stage"]: cost for cost in build_report(run)["costs"]}
    rows = [row.trajectory.cost for row in read_records(run.record_files(Stage.EVALUATE_RL_SELF_CORRECTION))]
    cost = costs["evaluate_rl_self_correction"]
    assert cost["trajectories"] == len(rows) > 0
    assert cost["generated_tokens"] == sum(row.generated_tokens for row in rows)
    assert cost["sandbox_calls"] == sum(row.sandbox_calls for row in rows)
    assert list(costs) == [stage for stage in Stage if run.record_files(stage)]


def test_markdown_tells_the_same_without_plots(run):
    report = write_report(run)
    text = run.report_markdown.read_text()
    for heading in (
        "Claims",
        "Held-out problems",
        "What each part adds",
        "What it cost",
        "RL by round",
        "The run",
        "Recipe",
    ):
        assert f"\n## {heading}\n" in text
    assert f"| cold start | {100 * report['stages']['cold_start']['pass_at_1']:.1f} % |" in text
    assert "<" not in text.split("## Sample trajectories")[0].replace("\\<", "")


@given(st.text(alphabet="`a\n "))
def test_a_fence_outlasts_what_it_holds(text):
    first, *inside, last = fenced(text, "text").split("\n")
    assert set(last) == {"`"}
    assert first == f"{last}text"
    assert "\n".join(inside) == text
    assert last not in text


def test_the_curve_has_every_round_and_the_evaluations_between(run):
    curve = build_report(run)["rl_curve"]
    assert [point["round"] for point in curve] == list(range(12))
    assert all(0 <= point["reward"] <= 1 for point in curve)
    assert [point["round"] for point in curve if "pass_at_1" in point] == [3, 7, 11]


def test_a_report_that_is_rebuilt_is_the_same(run):
    first = write_report(run), run.report_html.read_text()
    assert (write_report(run), run.report_html.read_text()) == first


def test_the_page_is_one_file_that_asks_for_nothing(run):
    write_report(run)
    text = run.report_html.read_text()
    page = Page(text)
    assert page.open == []
    assert page.references == ["data:,"]
    assert "script" not in page.tags
    assert not re.search(r"(?:https?:)?//\w|url\(|@import", text)
    assert page.tags.count("svg") == 3


def test_the_page_shows_ten_trajectories_of_every_kind(run):
    write_report(run)
    page = Page(run.report_html.read_text())
    assert page.tags.count("details") == 11  # the recipe is one
    rows = [row for _, row in sample_rows(run)]
    assert len({row["trajectory_id"] for row in rows}) == 10
    assert {row["stage"] for row in rows} >= {"evaluate_base", "evaluate_cold_start", "evaluate_rl", "rl"}
    assert {row["grade_status"] for row in rows} >= {"correct", "wrong"}
    assert any(row["failed_calls"] for row in rows)
    assert any(row["discarded_attempts"] for row in rows)
    for word in ("cut away at token", "trained", "masked", "version 3", "→ exception NameError", "branches from"):
        assert word in page.text


def test_what_a_policy_writes_cannot_act_on_the_page(tmp_path):
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    evil = "<script>alert(1)</script>\x1b[31m\u202e&quot;" + "x" * 100_000
    with RunLog.create(tmp_path / "r", Recipe(), "smoke") as log:
        log.keep_tokenizer(tmp_path)
        groups = evaluation(Stage.EVALUATE_BASE, [trajectory("<b>t</b>", answer="<img src=x>", extra=evil)])
        log.record_groups(groups, Stage.EVALUATE_BASE, 0, gold_answers=GOLD)
    write_report(log)
    page = Page(log.report_html.read_text())
    assert not {"script", "img"} & set(page.tags)
    assert "<script>alert(1)</script>␛[31m\\u202e&quot;xxx" in page.text


def test_a_run_that_has_only_begun_has_a_report_whose_claims_fail(tmp_path):
    log = RunLog.create(tmp_path / "r", Recipe(), "smoke")
    report = write_report(log)
    assert report["stages"] == {}
    assert report["status"] == "running"
    assert len(report["claims"]) == 5
    assert not any(claim["holds"] for claim in report["claims"])
    assert "Nothing has been evaluated yet" in log.report_html.read_text()
    log.__exit__(None, None, None)


def test_only_a_smoke_claims_to_learn_but_every_publication_must_be_verified(tmp_path):
    directory = RunDirectory(write_run(tmp_path / "run", command="train"))
    names = [claim["name"] for claim in build_report(directory)["claims"]]
    assert len(names) == 2
    assert "published" in names[0]


def test_a_gap_that_is_not_a_number_is_not_hidden_by_the_others():
    def line(gap: float | None) -> MetricsLine:
        figures = {"weights/version": 1, "weights/verified": 1, "weights/logprob_gap": gap}
        return MetricsLine("2026", 1, "rl", 0, figures)

    assert weight_figures([line(1e-6), line(3e-6)])["max_logprob_gap"] == 3e-6
    assert weight_figures([line(1e-6), line(None)])["max_logprob_gap"] is None
    assert weight_figures([])["published"] == 0


coordinates = st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1e9)), min_size=1, max_size=30)


@given(coordinates, st.booleans())
@example([(0, 5e-324)], False)
def test_a_chart_stays_inside_its_frame(points, share):
    svg = line_chart("t", "round", [Series("a<b", points)], share=share)
    page = Page(svg)
    assert page.open == []
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())  # type: ignore[union-attr]
    for pair in re.findall(r'points="([^"]+)"', svg):
        for point in pair.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


@given(st.floats(1e-6, 1e12))
def test_the_axis_ends_at_a_round_number_just_above(value):
    top = nice_ceiling(value)
    assert value <= top * (1 + 1e-8)
    assert top <= 2.5 * value * (1 + 1e-8)


def test_a_chart_as_a_file_needs_no_page_around_it():
    """Browsers take for a picture only what says that it is one, and classes without rules are black on black."""
    chart = line_chart("a < b", "tokens", [Series("one & all", [(5139.8, 0.1), (123487.3, 0.9)])], share=True)
    style = ":root { --page: white; } svg .series-0 { stroke: blue; }"
    root = ET.fromstring(standalone("a < b", chart, [("series-0", "one & all")], style))
    assert root.tag == f"{SVG}svg"
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts[:2] == ["a < b", "one & all"]
    assert {"5,140", "123,487"} <= set(texts)
    assert [element.text for element in root.iter(f"{SVG}style")] == [style]
    (inner,) = root.findall(f"{SVG}svg")
    assert float(inner.get("y", 0)) + float(inner.get("height", 0)) == float(root.get("height", 0))
    with pytest.raises(ValueError, match="has no size"):
        standalone("a", "<p/>", [], "")


def test_labels_are_never_cut_at_the_edge():
    """Long ones take from the chart's width, very long ones are shortened so that it is seen."""
    for label in ("T5", "K denominator=per_level, c", "a" * 60):
        root = ET.fromstring(interval_chart("title", [(label, 0.5, 0.4, 0.6), ("T1", 1.0, 1.0, 1.0)]))
        shown = next(element for element in root.iter() if element.get("text-anchor") == "end")
        assert float(shown.get("x", 0)) - CHARACTER_WIDTH * len(shown.text or "") >= 0
        assert shown.text == label or (shown.text or "").endswith("…")
        dots = [float(element.get("cx", 0)) for element in root.iter() if element.get("cx")]
        assert WIDTH / 2 < dots[0] < dots[1] < WIDTH


def test_a_legend_goes_on_in_the_next_line():
    chart = line_chart("title", "tokens", [Series("a", [(0.0, 0.1), (1.0, 0.9)])], share=True)
    names = [f"hierarchical-rl-{number}" for number in range(5)]
    root = ET.fromstring(standalone("title", chart, [("series-0", name) for name in names], ""))
    entries = [element for element in root.iter(f"{SVG}text") if element.text in names]
    assert [element.text for element in entries] == names
    for element in entries:
        assert float(element.get("x", 0)) + CHARACTER_WIDTH * len(element.text or "") <= WIDTH
    below = [float(element.get("y", 0)) for element in entries]
    assert below == sorted(below)
    assert 1 < len(set(below)) < len(names)
    (inner,) = root.findall(f"{SVG}svg")
    assert float(inner.get("y", 0)) > below[-1]


def test_charts_without_points_are_refused_and_labels_escaped():
    with pytest.raises(ValueError, match="no points"):
        line_chart("empty", "round", [Series("a", [])], share=True)
    assert "<b>" not in interval_chart("<b>", [("<b>", 0.5, 0.4, 0.6)])


def test_the_page_needs_no_tokenizer_once_texts_are_recorded(tmp_path):
    directory = RunDirectory(write_run(tmp_path / "smoke"))
    write_report(directory)
    first = directory.report_html.read_text()
    for file in Path(directory.tokenizer).iterdir():
        file.unlink()
    write_report(directory)
    assert directory.report_html.read_text() == first
