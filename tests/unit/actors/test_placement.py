"""Which Ray cluster a run uses."""

import socket

import pytest

from actors.placement import ClusterError, RayCluster, started_cluster
from thor_ray.preflight import listens


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_the_note_of_ray_start_names_the_cluster(tmp_path):
    assert started_cluster(tmp_path) is None
    (tmp_path / "ray_current_cluster").write_text("127.0.0.1:6379\n")
    assert started_cluster(tmp_path) == "127.0.0.1:6379"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_listener_answers_and_a_closed_port_does_not(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listens(f"{scheme}127.0.0.1:{server.getsockname()[1]}")
    assert not listens(f"{scheme}127.0.0.1:{closed_port()}")


def test_an_address_without_a_port_is_left_to_ray():
    assert listens("auto")


def test_a_named_cluster_that_does_not_answer_is_refused_at_once(tmp_path):
    address = f"127.0.0.1:{closed_port()}"
    with pytest.raises(ClusterError, match=address), RayCluster(address, temp_dir=tmp_path):
        pass


def test_a_cluster_that_does_not_start_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(ClusterError, match=r"Ray did not start.*File exists"),
        RayCluster(temp_dir=tmp_path / "file"),
    ):
        pass
