"""A page that is served with a run can be opened while the block runs, and not afterwards."""

import socket

import httpx
import pytest

from tests.support.runs import write_run
from thor_ray.dashboard import served
from thor_ray.run_directory import RunDirectory


def test_a_page_comes_and_goes_with_its_block_and_dodges_a_port_that_is_taken(tmp_path):
    run = RunDirectory(write_run(tmp_path / "run"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with served(run, port) as address:
            assert not address.endswith(f":{port}/")
            answer = httpx.get(f"{address}api/status", params={"run": "run"}, timeout=30)
            assert answer.json()["status"] == "finished"
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, timeout=5)
