"""Transports that cannot work are refused before anything starts (invariant 13)."""

from pathlib import Path
from typing import Any

import pytest

from thor_ray.config import PublishingConfig, RecipeError, validate_recipe


def test_the_default_lets_the_cluster_decide_and_samples_checksums() -> None:
    config = PublishingConfig()
    assert (config.transport, config.bucket_mib, config.verification) == ("auto", 512, "sampled")


def test_files_need_a_directory() -> None:
    accepted = validate_recipe({"publishing": {"transport": "file", "directory": "/shared"}}, "test")
    assert accepted.publishing.directory == Path("/shared")


@pytest.mark.parametrize(
    ("publishing", "said"),
    [
        ({"transport": "file"}, "needs publishing.directory"),
        ({"directory": "/shared"}, "does nothing with publishing.transport: auto"),
        ({"transport": "mpi"}, "mpi"),
        ({"bucket_mib": 0}, "bucket_mib"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_what_would_fail_or_do_nothing_is_refused(publishing: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        validate_recipe({"publishing": publishing}, "test")


def test_cuda_ipc_is_refused_with_more_engines_than_ranks() -> None:
    with pytest.raises(RecipeError, match=r"learner\.ranks is 1 and engine\.actors x engine\.tensor_parallel is 2"):
        validate_recipe({"publishing": {"transport": "cuda_ipc"}, "engine": {"actors": 2}}, "test")
