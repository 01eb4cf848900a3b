"""A shared sandbox, and the check that no test leaves a process or a descriptor behind."""

import os
import sys
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
    before = held()
    yield
    assert eventually(lambda: not programs(os.getpid())), f"programs are left: {programs(os.getpid())}"
    if "ray_cluster" in request.fixturenames:
        return  # it was perhaps this test for which the cluster started
    assert eventually(lambda: all(now <= then for now, then in zip(held(), before, strict=True))), (
        f"(descriptors, processes): {before} before, {held()} now"
    )


def held() -> tuple[int, int]:
    """How many descriptors and children this process has. A cluster, once it runs, opens connections when it likes."""
    ray = sys.modules.get("ray")
    connections = ("socket:", "anon_inode:[event") if ray is not None and ray.is_initialized() else ()
    return count_descriptors(but=connections), len(children(os.getpid()))
