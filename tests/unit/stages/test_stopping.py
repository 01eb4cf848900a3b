"""Requests to stop, as real signals to this process."""

import os
import signal
import threading

import pytest

from learners.checkpoint import CheckpointError
from thor_ray.stages.stopping import OrderlyStop

REQUESTS = [signal.SIGINT, signal.SIGTERM]


def request(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", REQUESTS)
def test_while_a_round_is_sampled_the_run_stops_at_once_and_keeps_what_is_finished(number):
    kept: list[int] = []

    def sample_the_fifth_round() -> None:
        with OrderlyStop(kept.append, 3) as stop:
            with stop.finishing(4):
                pass
            request(number)
            pytest.fail("sampling went on")

    with pytest.raises(KeyboardInterrupt):
        sample_the_fifth_round()
    assert kept == [4]


@pytest.mark.parametrize("number", REQUESTS)
def test_a_round_that_is_learnt_from_is_finished_first(number):
    kept: list[int] = []
    steps: list[str] = []

    def learn() -> None:
        with OrderlyStop(kept.append, 0) as stop:
            with stop.finishing(1):
                request(number)
                steps.append("learnt to the end")
            steps.append("went on")

    with pytest.raises(KeyboardInterrupt):
        learn()
    assert steps == ["learnt to the end"]
    assert kept == [1]


def test_a_second_request_does_not_wait_and_keeps_no_half_learnt_weights():
    kept: list[int] = []

    def learn() -> None:
        with OrderlyStop(kept.append, 2) as stop, stop.finishing(3):
            request(signal.SIGTERM)
            request(signal.SIGTERM)
            pytest.fail("learning went on")

    with pytest.raises(KeyboardInterrupt):
        learn()
    assert kept == []


def test_nothing_cuts_a_checkpoint_short():
    kept: list[int] = []

    def keep(done: int) -> None:
        request(signal.SIGTERM)
        kept.append(done)

    with pytest.raises(KeyboardInterrupt), OrderlyStop(keep, 5):
        request(signal.SIGINT)
    assert kept == [5]


def test_a_checkpoint_that_fails_does_not_hide_that_the_run_was_stopped(caplog):
    def keep(done: int) -> None:
        raise CheckpointError("the disk is full", "make room")

    with pytest.raises(KeyboardInterrupt), OrderlyStop(keep, 5):
        request(signal.SIGTERM)
    assert "the disk is full" in caplog.text


def test_other_ends_keep_nothing_and_handlers_are_put_back():
    kept: list[int] = []
    before = [signal.getsignal(number) for number in REQUESTS]
    with OrderlyStop(kept.append, 1):
        assert [signal.getsignal(number) for number in REQUESTS] != before
    with pytest.raises(ValueError, match="something else"), OrderlyStop(kept.append, 1):
        raise ValueError("something else")
    assert [signal.getsignal(number) for number in REQUESTS] == before
    assert kept == []


def test_in_another_thread_it_changes_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def run() -> None:
        with OrderlyStop(lambda done: None, 0) as stop:
            with stop.finishing(1):
                pass
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
