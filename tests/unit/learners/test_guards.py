"""Updates that are skipped are counted in a row, and name whose groups they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.guards import NonFiniteUpdateError, SkippedUpdate, UpdateGuard


def skipped(*suspects: str) -> SkippedUpdate:
    return SkippedUpdate(float("nan"), float("inf"), ("a", "b"), suspects)


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4))
def test_only_so_many_in_a_row(made, limit):
    """The run ends exactly where the first ``limit`` updates in a row have been skipped."""
    history = "".join("m" if one else "s" for one in made)
    guard = UpdateGuard(limit)
    done = 0
    try:
        for one in made:
            done += 1
            guard.made() if one else guard.skip(skipped())
    except NonFiniteUpdateError:
        assert history[:done].endswith("s" * limit)
        assert "s" * limit not in history[: done - 1]
    else:
        assert "s" * limit not in history
        assert len(guard.skipped) == len(history) - len(history.rstrip("s"))


def test_the_error_names_the_groups_to_blame():
    guard = UpdateGuard(2)
    guard.skip(skipped("b"))
    with pytest.raises(NonFiniteUpdateError, match=r"2 updates in a row .* by groups b; .* one of the groups a, b"):
        guard.skip(skipped())
