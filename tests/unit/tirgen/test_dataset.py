"""A data set is what the library `datasets` reads, however many files it has, and its card says what is in it."""

import json

import pytest
import yaml
from datasets import load_dataset

from tests.unit.demonstrations.examples import EXCEPTION, OK, demonstration
from thor_ray.demonstrations import Funnel, RuleOutcome
from thor_ray.errors import UserError
from thor_ray.problems import Problem
from thor_ray.tirgen import dataset
from thor_ray.tirgen.costs import CandidateCost
from thor_ray.tirgen.export import sharegpt_row

FUNNEL = Funnel(5, 3, (RuleOutcome("boxed", {"limit": 1}, 5, {"no box": 2}, ()),))
ORIGIN = dataset.Origin(
    "small",
    {"seed": 7},
    {"generator": FUNNEL.to_json()},
    CandidateCost(generated_tokens=30, sandbox_seconds=1.5).figures(3),
)


def rows(count):
    for number in range(count):
        blocks = [("print(1)", EXCEPTION), ("print(2)", OK)][number % 2 :]
        problem = Problem(f"p{number}", f"How many, {number}?", "12", "test")
        made = demonstration(f"t{number}", problem.id, blocks)
        yield dataset.dataset_row(made, problem, lambda ids: "".join(map(chr, ids)))


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(dataset, "ROWS_PER_TABLE", 2)
    monkeypatch.setattr(dataset, "TABLES_PER_FILE", 2)


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_all_rows_are_there_in_order(count, small_files, tmp_path):
    assert dataset.write_dataset(tmp_path, rows(count), ORIGIN) == count
    assert [row["id"] for row in dataset.read_rows(tmp_path)] == [f"t{number}" for number in range(count)]
    assert len(list((tmp_path / "data").iterdir())) == max(1, -(-count // 4))


def test_the_library_reads_it_and_the_card_tells_of_it(small_files, tmp_path):
    dataset.write_dataset(tmp_path / "set", rows(7), ORIGIN)
    dataset.write_dataset(tmp_path / "set", rows(3), ORIGIN)
    loaded = load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["id"] == ["t0", "t1", "t2"], "what an earlier data set had is gone"
    assert loaded[1]["question"] == "How many, 1?"
    assert [loaded[1][name] for name in ("calls", "failed_calls", "gold_answer")] == [1, 0, "12"]
    assert [piece["kind"] for piece in loaded[0]["segments"]] == [
        *("thought", "action", "observation") * 2,
        "answer",
    ]
    _, header, body = (tmp_path / "set" / dataset.CARD).read_text().split("---\n", 2)
    assert yaml.safe_load(header)["size_categories"] == ["n<1K"]
    assert "| programs | 1 | 1 |" in body
    assert "| programs | 2 | 2 |" in body
    assert "| `boxed` | limit 1 | 5 | 2 | no box 2 |" in body
    assert "| tokens of the generator | 30 | 10.0 |" in body
    assert "| seed | 7 |" in body


def test_lines_for_other_trainers(tmp_path):
    dataset.write_dataset(tmp_path, rows(2), ORIGIN)
    assert dataset.export_jsonl(tmp_path, tmp_path / "out.jsonl", sharegpt_row) == 2
    first, _ = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert [turn["from"] for turn in first["conversations"]] == ["human", "gpt"]
    assert first["conversations"][0]["value"] == "How many, 0?"


def test_a_set_that_is_not_finished_is_refused(tmp_path):
    def broken():
        yield from rows(1)
        raise OSError("the lights went out")

    dataset.write_dataset(tmp_path, rows(2), ORIGIN)
    with pytest.raises(OSError, match="lights"):
        dataset.write_dataset(tmp_path, broken(), ORIGIN)
    with pytest.raises(UserError, match="no finished data set"):
        next(dataset.read_rows(tmp_path))
