"""A shared sandbox, and the check that no test leaves a process or a descriptor behind."""

import os
from collections.abc import Iterator

import pytest

from sandbox import Sandbox
from tests.integration.sandbox.processes import children, count_descriptors, eventually, programs


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest, box: Sandbox) -> Iterator[None]:
    before = (count_descriptors(), len(children(os.getpid())))
    yield
    assert eventually(lambda: not programs(os.getpid())), f"programs are left: {programs(os.getpid())}"
    if "ray_cluster" in request.fixturenames:
        return  # a cluster opens connections when it likes
    assert eventually(lambda: (count_descriptors(), len(children(os.getpid()))) <= before), (
        f"(descriptors, processes): {before} before, {count_descriptors(), len(children(os.getpid()))} now"
    )
