import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches import sandbox_soak
from sandbox import Status
from tests.integration.sandbox.attacks.case import Mode


def mix(seed: int = 0, hostile: float = 0.1) -> sandbox_soak.Mix:
    return sandbox_soak.Mix(seed, hostile, lambda program: program)


@given(st.integers(0, 1000), st.floats(0, 1))
def test_as_many_programs_are_drawn_as_are_asked_for(executions, sessions):
    batches = list(mix().batches(executions, sessions))
    assert sum(len(programs) for _, programs in batches) == executions
    assert all(len(programs) == 1 for mode, programs in batches if mode is Mode.ONE_SHOT)


def test_the_parts_are_what_they_are_said_to_be():
    drawn = [(mode, work) for mode, programs in mix().batches(20_000, 0.3) for work in programs]
    alone = [work for mode, work in drawn if mode is Mode.ONE_SHOT]
    assert 0.28 < 1 - len(alone) / len(drawn) < 0.32
    assert 0.09 < sum(work.kind == "hostile" for work in alone) / len(alone) < 0.11


def test_the_same_seed_draws_the_same():
    first, again, other = (list(mix(seed).batches(300, 0.5)) for seed in (1, 1, 2))
    assert first == again != other


def test_in_a_session_only_what_follows_an_attack_may_end_anyhow():
    steps = list(mix(hostile=0.3).draw_session(200))
    first = next(index for index, work in enumerate(steps) if work.kind == "hostile")
    assert {work.kind for work in steps[:first]} <= {"honest"}
    assert {work.kind for work in steps[first + 1 :]} == {"aftermath"}
    assert all(Status.SANDBOX_ERROR not in {outcome.status for outcome in work.accepted} for work in steps)


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_parts_are_even_and_complete(total, number):
    parts = list(sandbox_soak.parts(total, number))
    assert sum(parts) == total
    assert not parts or max(parts) - min(parts) <= 1


MIB = 2**20


@pytest.mark.parametrize(
    ("missed", "changes"),
    [
        (None, {}),
        ("leftovers", {"leftovers": ["a process"]}),
        ("hung calls", {"hung": ["a program"]}),
        ("calls without a result", {"wanted": 101}),
        ("failures of the sandbox", {"status": Status.SANDBOX_ERROR}),
        ("unexpected ends", {"surprises": ["a program"]}),
        ("longest overrun (s)", {"overrun_seconds": 1.1}),
        ("growth of resident memory (%)", {"memory": [100 * MIB, 200 * MIB, 106 * MIB]}),
    ],
)
def test_each_goal_can_be_missed(missed, changes):
    tally = sandbox_soak.Tally()
    tally.statuses["honest", changes.get("status", Status.OK)] = 100
    for name in ("leftovers", "surprises", "overrun_seconds"):
        setattr(tally, name, changes.get(name, getattr(tally, name)))
    memory = changes.get("memory", [100 * MIB, 104 * MIB])
    figures = sandbox_soak.figures(tally, changes.get("wanted", 100), changes.get("hung", []), memory, 2.0, 3)
    assert {name for name, goal in figures["goals"].items() if not goal["met"]} == ({missed} if missed else set())
    assert (figures["executions"], figures["executions_per_second"]) == (100, 50.0)
