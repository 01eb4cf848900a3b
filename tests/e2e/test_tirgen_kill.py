"""TIRGen killed half-way and gone on with: real engine, real kill; nothing is lost, nothing is made twice."""

import json
import os
import signal
from collections import Counter

import pytest
from datasets import load_dataset

from tests.support.background import PATIENCE, begin, told, wait_for_lines
from tests.support.commands import thor
from thor_ray.records import Stage, read_records
from thor_ray.run_directory import RunDirectory
from thor_ray.run_state import RunStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PROBLEMS = 160
ASKED = [
    "tirgen",
    *("--seed", "5", "--set", f"problems.train.count={PROBLEMS}", "--set", f"tirgen.problems={PROBLEMS}"),
    *("--set", "sandbox.timeout_seconds=60"),
]


def test_killed_in_the_middle_it_goes_on_and_makes_each_candidate_once(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "tirgen")
    shard = run.path / "tirgen" / "candidates" / "candidates-00000.jsonl"
    process = begin(tmp_path, *ASKED)
    wait_for_lines(process, tmp_path, shard, 20)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    *before, _torn = shard.read_bytes().split(b"\n")
    assert len(before) >= 20
    assert run.state().seen_status is RunStatus.INTERRUPTED
    with shard.open("ab") as torn:
        torn.write(b'{"problem_id": "half a li')
    assert begin(tmp_path, *ASKED, "--resume").wait(PATIENCE) == 0, told(tmp_path)

    lines = shard.read_bytes().splitlines()
    assert lines[: len(before)] == before, "what was finished was made again"
    rows = [json.loads(line) for line in lines]
    attempted = Counter(row["problem_id"] for row in rows if row["source"] == "generator")
    assert len(attempted) == PROBLEMS, "an attempt was lost"
    fallen = Counter(row["problem_id"] for row in rows if row["source"] == "generator" and row["rejection"])
    rewritten = Counter(row["problem_id"] for row in rows if row["source"] == "worked_solution")
    assert rewritten == fallen, "worked solutions are for whom the generator's attempts were rejected, once each"
    assert set(attempted.values()) == {1}, "an attempt was made twice"

    kept = [record.trajectory.id for record in read_records(run.record_files(Stage.TIRGEN))]
    result = run.state().stages[Stage.TIRGEN].result
    assert len(kept) == result["demonstrations"] == len({*kept})
    assert result["generated_tokens"] > 0
    dataset = load_dataset(str(run.path / "tirgen" / "dataset"), split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset["id"] == kept
    exported = thor(tmp_path, "tirgen", "export", "tirgen", "out.jsonl", "--format", "sharegpt")
    assert f"{len(kept)} demonstrations written" in exported.stdout
    conversations = [json.loads(line)["conversations"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [turn["from"] for turn in conversations[0]] == ["human", "gpt"]
    filtered = thor(tmp_path, "tirgen", "filter", "tirgen", "--compare", "release")
    assert "kept by ours alone" in filtered.stdout, filtered.stderr
