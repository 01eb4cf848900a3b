"""What all tests share: one thread per process, repeatable property tests, GPU tests only where there is a GPU."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports numpy or torch: with one thread each, processes that share two cores are many times faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that runs the tests in the background makes them deaf to Ctrl-C, and with them every program they start, some
# of which are here to be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

TESTS = Path(__file__).parent
REAL_PARTS = (TESTS / "integration", TESTS / "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what lies under integration/ and e2e/, and skips GPU tests on machines without one."""
    for item in items:
        if any(folder in item.path.parents for folder in REAL_PARTS):
            item.add_marker(pytest.mark.integration)
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_gpu and not has_gpu():
        for item in for_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def has_gpu() -> bool:
    """Whether torch sees a CUDA device; torch is imported only when some test asks."""
    import torch

    return torch.cuda.is_available()
