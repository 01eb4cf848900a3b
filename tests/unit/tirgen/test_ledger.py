"""What is finished is on disk: found again after any kill, never twice, never lost."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.demonstrations.examples import EXCEPTION, OK, demonstration
from thor_ray.demonstrations import Rejection, Source
from thor_ray.demonstrations.serial import demonstration_from_json, demonstration_to_json
from thor_ray.errors import RecordFormatError
from thor_ray.tirgen.costs import CandidateCost
from thor_ray.tirgen.ledger import Candidate, CandidateKey, Ledger
from thor_ray.tirgen.streaming import Stage, stream


def candidate(number: int, text: str = "so it is") -> Candidate:
    key = CandidateKey(Source.GENERATOR, number % 3, f"p{number // 3}")
    made = demonstration(f"t{number}", key.problem_id, [("print(1)", OK)] * (number % 3), prose=text)
    rejection = Rejection(5, "uses_code", "no program") if number % 3 == 0 else None
    return Candidate(key, f"{text} {number}", made, rejection, CandidateCost(number, 2 * number, number / 4))


def contents(ledger: Ledger) -> list[tuple[CandidateKey, str, dict[str, object], Rejection | None, CandidateCost]]:
    """Everything, with arrays as lists."""
    read = [ledger.read(entry) for entry in ledger.entries()]
    return [
        (each.key, each.solution, demonstration_to_json(each.demonstration), each.rejection, each.cost) for each in read
    ]


A_LINE = b'{"problem_id": "p7", "source": "generator", "attempt": 0, "rejection": null'


class Killed(BaseException):
    """What a test ends a writer with."""


def work_through(directory: Path, count: int, workers: int, killed_after: int | None) -> None:
    """Makes what is missing of the first ``count`` candidates, as a run does; the kill comes after so many of them."""
    with Ledger(directory, lines_per_shard=4) as ledger:
        made = 0

        async def make(number: int) -> list[Candidate]:
            for _ in range(number % 3):
                await asyncio.sleep(0)
            return [candidate(number)]

        def write(each: Candidate) -> None:
            nonlocal made
            if made == killed_after:
                raise Killed
            ledger.append(each)
            made += 1

        missing: Iterable[int] = (number for number in range(count) if candidate(number).key not in ledger)
        asyncio.run(stream(missing, [Stage(make, workers)], write, room=2))


@given(
    count=st.integers(0, 14),
    attempts=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6), st.integers(0, len(A_LINE))), max_size=4),
)
def test_killed_anywhere_any_number_of_times_it_ends_with_the_same_candidates_each_once(count, attempts):
    with TemporaryDirectory() as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        work_through(whole, count, workers=2, killed_after=None)
        for workers, killed_after, torn_bytes in attempts:
            with suppress(Killed):
                work_through(killed, count, workers, killed_after)
            if shards := sorted(killed.glob("*.jsonl")):
                # The line that was being written has reached the disk in part.
                with shards[-1].open("ab") as shard:
                    shard.write(A_LINE[:torn_bytes])
        work_through(killed, count, workers=3, killed_after=None)
        assert contents(Ledger(killed)) == contents(Ledger(whole))
        lines = sum(shard.read_bytes().count(b"\n") for shard in killed.glob("*.jsonl"))
        assert lines == count, "a candidate was written twice"


def test_a_candidate_cannot_be_finished_twice(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(candidate(1))
        with pytest.raises(ValueError, match="finished already"):
            ledger.append(candidate(1))


def test_a_damaged_line_is_named(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(candidate(1))
    path = tmp_path / "candidates-00000.jsonl"
    path.write_bytes(path.read_bytes() + b'{"problem_id": 3}\n')
    with pytest.raises(RecordFormatError, match=r"candidates-00000.jsonl, byte \d+: no candidate of TIRGen"):
        Ledger(tmp_path)


@given(text=st.text(alphabet=st.characters(codec="utf-8")), failed=st.booleans(), answer=st.none() | st.text())
def test_a_demonstration_comes_back_as_it_was(text, failed, answer):
    made = demonstration(blocks=[("print(1)", EXCEPTION if failed else OK)], prose=text, answer=answer)
    tree = demonstration_to_json(made)
    again = demonstration_from_json(tree)
    assert demonstration_to_json(again) == tree
    assert (again.trajectory.loss_mask() == made.trajectory.loss_mask()).all()
    assert (again.trajectory.spans, again.claims, again.steps) == (made.trajectory.spans, made.claims, made.steps)
