import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Limits, Sandbox
from sandbox.limits import MIB
from sandbox.memory import MemoryBudget, default_budget


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks"


def test_two_holders_draw_from_one_budget(path):
    first, second = MemoryBudget(100 * MIB, path), MemoryBudget(100 * MIB, path)
    share = first.reserve(60 * MIB)
    assert share is not None
    assert second.reserve(60 * MIB) is None
    rest = second.reserve(40 * MIB)
    assert rest is not None
    assert first.reserve(1) is None
    os.close(share)
    assert second.reserve(60 * MIB) is not None


def test_one_holder_cannot_draw_its_own_share_twice(path):
    budget = MemoryBudget(100 * MIB, path)
    shares = [budget.reserve(30 * MIB) for _ in range(4)]
    assert shares[3] is None
    assert len(set(shares[:3])) == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40 * MIB)), max_size=40))
def test_never_more_than_the_budget(tmp_path_factory, moves):
    """Whatever is drawn and given back, in whatever order, by two holders."""
    path = tmp_path_factory.mktemp("budget") / "locks"
    holders = [MemoryBudget(100 * MIB, path), MemoryBudget(100 * MIB, path)]
    held: list[tuple[int, int]] = []
    for index, (draw, size) in enumerate(moves):
        if draw or not held:
            share = holders[index % 2].reserve(size)
            if share is not None:
                held.append((share, -(-size // MIB)))
        else:
            os.close(held.pop(0)[0])
        assert sum(units for _, units in held) <= 100
    for share, _ in held:
        os.close(share)
    whole = holders[0].reserve(100 * MIB)
    assert whole is not None
    os.close(whole)


def test_the_kernel_gives_back_what_a_killed_process_held(path):
    code = (
        "import os, signal, sys; from pathlib import Path; from sandbox.memory import MemoryBudget; "
        f"assert MemoryBudget({100 * MIB}, Path(sys.argv[1])).reserve({100 * MIB}); print('held', flush=True); "
        "signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        budget = MemoryBudget(100 * MIB, path)
        assert budget.reserve(MIB) is None
        holder.kill()
        holder.wait()
        assert budget.reserve(100 * MIB) is not None


def test_a_link_in_the_files_place_is_refused(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        MemoryBudget(100 * MIB, path)


def test_a_budget_that_no_program_fits_into_is_refused():
    assert default_budget() > 0
    with pytest.raises(ValueError, match="raise the budget"):
        Sandbox(memory_budget=MIB, limits=Limits(memory_bytes=2 * MIB))
