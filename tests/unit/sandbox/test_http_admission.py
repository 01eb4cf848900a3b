"""The queue in front of the sandbox is bounded, by requests and by bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from sandbox.http.admission import Admission


def test_one_request_too_many_is_told_to_come_back():
    admission = Admission(max_requests=2)
    assert admission.admit(10) is None
    assert admission.admit(10) is None
    assert admission.saturation == 1.0
    refusal = admission.admit(10)
    assert refusal is not None
    assert refusal.code == 429
    assert int(refusal.headers["Retry-After"]) >= 1
    admission.release(10)
    assert admission.admit(10) is None


def test_bodies_together_are_bounded_too():
    admission = Admission(max_requests=100, max_body_bytes=80, max_bytes=100)
    assert admission.admit(80) is None
    refusal = admission.admit(21)
    assert refusal is not None
    assert refusal.code == 429
    assert admission.admit(20) is None
    assert admission.saturation == 1.0


@pytest.mark.parametrize(("size", "code"), [(None, 411), (33, 413)])
def test_a_body_of_no_or_too_large_a_size_stays_outside(size, code):
    admission = Admission(max_body_bytes=32)
    refusal = admission.admit(size)
    assert refusal is not None
    assert refusal.code == code
    assert admission.requests == admission.held_bytes == 0


@given(st.sampled_from(["max_requests", "max_body_bytes", "max_bytes"]), st.integers(max_value=0))
def test_a_bound_is_positive(name, bound):
    with pytest.raises(ValueError, match=name):
        Admission(**{name: bound})


class Comings(RuleBasedStateMachine):
    """Requests come and go in any order."""

    inside = Bundle("inside")

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(max_requests=3, max_body_bytes=50, max_bytes=100)
        self.sizes: list[int] = []

    @rule(target=inside, size=st.integers(0, 60))
    def come(self, size: int):
        fits = size <= 50 and len(self.sizes) < 3 and sum(self.sizes) + size <= 100
        assert (self.admission.admit(size) is None) == fits
        if not fits:
            return multiple()
        self.sizes.append(size)
        return size

    @rule(size=consumes(inside))
    def go(self, size: int):
        self.admission.release(size)
        self.sizes.remove(size)

    @invariant()
    def counts_are_right(self):
        assert (self.admission.requests, self.admission.held_bytes) == (len(self.sizes), sum(self.sizes))
        assert 0 <= self.admission.saturation <= 1


TestComings = Comings.TestCase
