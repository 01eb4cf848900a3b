"""The paper's tables were copied without slips: their own sums and quotients come out."""

import pytest

from thor_ray.evaluation.paper import PaperTable, paper
from thor_ray.evaluation.significance import ContingencyTable, chi_squared
from thor_ray.problems import benchmark_named

ODD_MEANS = {"Qwen2.5-Math-7B-Instruct"}
"""Rows whose mean is wrong in the paper itself."""


@pytest.mark.parametrize("name", ["main", "ablation", "selection", "repair"])
def test_averages_are_the_means_of_their_rows(name):
    table = paper().tables[name]
    assert table.columns[-1] == "average"
    full = [row for row in table.rows if None not in row.values and row.label not in ODD_MEANS]
    assert len(full) >= 8
    for row in full:
        *values, average = (value or 0.0 for value in row.values)
        assert sum(values) / 6 == pytest.approx(average, abs=0.0501), row.label


def test_columns_are_benchmarks_that_the_registry_knows():
    for name in ("main", "ablation", "selection", "repair", "cost"):
        benchmarks = paper().tables[name].columns[:6]
        assert all(benchmark_named(benchmark) is not None for benchmark in benchmarks)
        assert len(set(benchmarks)) == 6


def test_tokens_average_and_trajectories_per_second_follow_from_the_other_columns():
    table = paper().tables["cost"]
    for row in table.rows:
        *tokens, average, seconds, speed = (value or 0.0 for value in row.values)
        assert sum(tokens) / 6 == pytest.approx(average, abs=1.01)
        assert 6188 / seconds == pytest.approx(speed, rel=0.01)


def test_pass_rates_follow_from_the_calls():
    for row in paper().tables["execution"].rows:
        _, _, failed, good, rate = (value or 0.0 for value in row.values)
        assert 100 * good / (good + failed) == pytest.approx(rate, abs=0.25), row.label


def test_the_same_figures_stand_in_several_tables():
    """Rows that the paper repeats: THOR with self-correction is T6, step-suffix, and no selection."""
    tables = paper().tables
    thor = {row.label: row.values for row in tables["main"].rows}["THOR-7B"]
    repeated = [
        row.values
        for name, label, group in (
            ("ablation", "T6 + self-correction", "Qwen2.5-Math-7B"),
            ("selection", "no selection", "THOR-7B"),
            ("repair", "step_suffix", "THOR-7B"),
        )
        for row in tables[name].rows
        if (row.label, row.group) == (label, group)
    ]
    assert repeated == [thor] * 3


def test_the_table_of_tool_success_gives_the_papers_test():
    [row] = paper().tables["tool_success"].rows
    found = chi_squared(ContingencyTable(*(int(value or 0) for value in row.values)))
    assert found is not None
    assert found[0] == pytest.approx(336.3, abs=0.05)


def test_all_tables_have_their_number_and_the_source_its_version():
    assert sorted(table.number for table in paper().tables.values()) == [1, 2, 3, 4, 5, 6, 7]
    assert paper().citation == "arXiv 2509.13761v3"
    assert len(paper().tables["main"].rows) == 25


def test_a_row_with_a_missing_value_is_refused():
    with pytest.raises(ValueError, match="row 'x' has 1 values for 2 columns"):
        PaperTable.model_validate(
            {
                "number": 1,
                "title": "t",
                "unit": "percent",
                "columns": ["a", "b"],
                "rows": [{"label": "x", "group": "g", "values": [1]}],
            }
        )
