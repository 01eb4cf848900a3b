"""What was dropped is found again, with its reason, whoever reads it later."""

import json
from pathlib import Path

from thor_ray.drop_record import DROPS_FILE, DroppedProblem, append_drops, read_drops

STALE = DroppedProblem("g000003", "p7", "stale", 4)
LOST = DroppedProblem("g000005", "p1", "lost", 5)


def test_drops_of_all_rounds_and_attempts_are_kept_in_order(tmp_path: Path) -> None:
    assert read_drops(tmp_path) == []
    append_drops(tmp_path, attempt=1, round_index=3, drops=[STALE])
    append_drops(tmp_path, attempt=1, round_index=4, drops=[])
    append_drops(tmp_path, attempt=2, round_index=3, drops=[STALE, LOST])
    assert read_drops(tmp_path) == [STALE, STALE, LOST]
    lines = [json.loads(line) for line in (tmp_path / DROPS_FILE).read_text().splitlines()]
    assert [(line["attempt"], line["round"]) for line in lines] == [(1, 3), (2, 3), (2, 3)]


def test_a_round_that_drops_nothing_leaves_no_file(tmp_path: Path) -> None:
    append_drops(tmp_path, attempt=1, round_index=0, drops=[])
    assert not (tmp_path / DROPS_FILE).exists()
