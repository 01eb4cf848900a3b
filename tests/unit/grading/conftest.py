"""One pool for the tests that only ask it questions; tests that harm workers make their own."""

from collections.abc import Iterator

import pytest

from thor_ray.grading import GraderPool


@pytest.fixture(scope="session")
def pool() -> Iterator[GraderPool]:
    with GraderPool() as grader:
        yield grader
