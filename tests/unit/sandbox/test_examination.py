"""What people are told about a machine's isolation follows from what was found."""

import pytest

from sandbox.examination import Examination
from sandbox.result import Isolation, Level


def examination(level: Level, **escapes: bool) -> Examination:
    return Examination(Isolation(level, 7, "abc", 0), escapes)


@pytest.mark.parametrize(
    ("level", "suffices", "remedy"),
    [
        (Level.LIMITS, False, "Landlock"),
        (Level.FILTERED, False, "Landlock"),
        (Level.CONFINED, True, "user namespaces"),
        (Level.NAMESPACED, True, "gVisor"),
        (Level.OWN_KERNEL, True, ""),
    ],
)
def test_the_remedy_leads_to_the_next_level(level, suffices, remedy):
    found = examination(level)
    assert found.suffices == suffices
    assert remedy in found.remedy
    assert bool(found.remedy) == bool(remedy)


def test_an_escape_that_got_through_outweighs_the_level():
    assert examination(Level.NAMESPACED, fork=False).suffices
    assert not examination(Level.NAMESPACED, fork=False, connect=True).suffices
