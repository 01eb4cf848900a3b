"""Whether a study bears the paper's claims out."""

from pathlib import Path

import pytest

from tests.support.study import write_study_runs
from thor_ray.evaluation.paper import paper
from thor_ray.study.claims import Compared, Verdict, compared_claims
from thor_ray.study.design import ROWS
from thor_ray.study.report import write_study
from thor_ray.study.results import read_results
from thor_ray.study.seeds import change


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "small"
    for seed in (0, 1):
        write_study_runs(place, seed)
    return place


@pytest.fixture(scope="module")
def claims(place: Path) -> dict[str, Compared]:
    return {one.claim: one for one in compared_claims(read_results(place, ROWS), paper())}


def named(claims: dict[str, Compared], words: str) -> Compared:
    (found,) = [one for claim, one in claims.items() if words in claim]
    return found


@pytest.mark.parametrize(
    ("above", "verdict"),
    [
        ([0.02, 0.03, 0.025], Verdict.HOLDS),
        ([0.5, -0.1, 0.2], Verdict.OPEN),
        ([-0.5, 0.1, -0.2], Verdict.NOT_SHOWN),
        ([0.0, 0.0, 0.0], Verdict.NOT_SHOWN),
        ([-0.02, -0.03, -0.025], Verdict.REVERSED),
        ([0.4], Verdict.OPEN),
    ],
)
def test_a_claim_is_decided_by_the_interval_over_seeds(above, verdict):
    assert Compared("", (None, None), change([0.0] * len(above), above)).verdict is verdict


def test_each_claim_stands_beside_the_papers_difference(claims):
    cold_start = named(claims, "the cold start adds accuracy")
    assert cold_start.paper == pytest.approx((35.7 - 24.7, 71.4 - 74.5))
    assert cold_start.found.difference.mean == 0.25
    assert named(claims, "self-correction adds accuracy").paper == pytest.approx((1.5, 1.3))
    assert named(claims, "self-correction T6's run").paper == pytest.approx((98.7 - 89.6, 99.0 - 82.0))
    assert named(claims, "T3: answers are right more often").paper == (None, None)
    assert "(paper: +41.4, model not stated)" in named(claims, "T3: answers are right more often").claim
    assert named(claims, "T5: repair by step suffix beats full replan").paper == pytest.approx((0.8, 0.6))
    assert named(claims, "self-rewarded selection").paper == pytest.approx((63.3 - 61.2, 83.2 - 79.8))


def test_what_no_seed_has_run_is_not_judged(claims):
    """Nobody ran RL without tools, or on episodes alone."""
    assert not [claim for claim in claims if "T2" in claim or "T4" in claim]


def test_a_claim_that_does_not_hold_is_said_plainly(place, claims):
    """Selecting among candidates that are all alike gains nothing."""
    assert named(claims, "self-consistency").verdict is Verdict.NOT_SHOWN
    assert named(claims, "the cold start adds accuracy").verdict is Verdict.HOLDS
    write_study(place, ROWS)
    section = (place / "study.md").read_text().split("## What the paper claims")[1].split("\n## ", maxsplit=1)[0]
    (said,) = [line for line in section.splitlines() if line.startswith("Not borne out here")]
    assert "self-consistency selection beats the mean candidate" in said
    assert "the cold start adds accuracy" not in said
