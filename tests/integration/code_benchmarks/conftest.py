"""One sandbox for all tests of code benchmarks."""

from collections.abc import Iterator

import pytest

from sandbox import Sandbox
from thor_ray.code_benchmarks import SANDBOX_LIMITS


@pytest.fixture(scope="session")
def code_sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, limits=SANDBOX_LIMITS) as sandbox:
        yield sandbox
