"""History, places and flows of sessions."""

import asyncio
import fcntl
import os
import select
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Limits
from sandbox.limits import MIB
from sandbox.memory import MemoryBudget
from sandbox.sessions.child import SessionChild
from sandbox.sessions.exchange import Exchange
from sandbox.sessions.history import Cell, History
from sandbox.sessions.places import BUDGET_PART, Place, SessionPlaces
from sandbox.sessions.waiting import Flow, Wait, arun_flow, run_flow

# History.


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=30), st.integers(0, 20), st.floats(0.1, 10))
def test_a_history_holds_what_was_accepted_until_it_is_too_much(steps, max_steps, max_seconds):
    history, seconds, fits = History(max_steps, max_seconds), 0.0, True
    accepted: list[Cell] = []
    for is_accepted, took in steps:
        cell = history.next(b"code", 1.0)
        assert cell.number == len(accepted) + 1
        if is_accepted:
            history.accept(cell, took)
            accepted.append(cell)
            seconds += took
            fits = fits and len(accepted) <= max_steps and seconds <= max_seconds
        assert history.is_replayable is fits
        assert history.cells == (accepted if fits else [])
    history.clear()
    assert history.is_replayable
    assert history.next(b"", 1.0).number == 1


# Places.


class Deaf:
    """Nobody who has to be told of a process's end."""

    def vacate_session(self, child: SessionChild) -> None:
        """Nothing to do."""


@pytest.fixture
def make_child():
    made: list[SessionChild] = []

    def make() -> SessionChild:
        made.append(SessionChild(Limits(), {}, Deaf()))
        return made[-1]

    yield make
    for child in made:
        child.release()
        child.forget_childs_ends()


@pytest.fixture
def memory(tmp_path):
    return MemoryBudget(100 * MIB, tmp_path / "locks")


def test_places_go_to_those_who_came_first(make_child, memory):
    places, (first, second, third) = SessionPlaces(2, memory, MIB), (Place(), Place(), Place())
    children = [make_child() for _ in range(3)]
    for place, child in zip((first, second, third), children, strict=True):
        places.ask(place, child)
    assert [places.next(), places.next(), places.next()] == [children[0], children[1], None]
    assert "max_sessions is 2" in children[2].waits_for
    places.leave(first)
    assert places.next() is None, "its process may still live"
    places.vacate(children[0])
    assert places.next() is children[2]


def test_a_session_with_a_place_gets_another_process_at_once(make_child, memory):
    places, (first, second) = SessionPlaces(1, memory, MIB), (Place(), Place())
    old: SessionChild = make_child()
    waiting: SessionChild = make_child()
    new: SessionChild = make_child()
    places.ask(first, old)
    assert places.next() is old
    places.ask(second, waiting)
    assert places.next() is None
    places.ask(first, new)
    assert places.next() is new
    places.vacate(old)
    places.leave(first)
    assert places.next() is None
    places.vacate(new)
    assert places.next() is waiting


def test_sessions_hold_no_more_than_their_part_of_the_memory(make_child, memory):
    places, share = SessionPlaces(10, memory, 20 * MIB), 20 * MIB
    children = [make_child() for _ in range(4)]
    for child in children:
        places.ask(Place(), child)
    granted = [places.next() for _ in range(4)]
    assert sum(each is not None for each in granted) == int(100 * BUDGET_PART) // 20
    assert places.waits_for_memory
    assert "memory" in children[2].waits_for
    shares = [memory.reserve(share) for _ in range(3)]
    assert None not in shares[:2], "the other half is there for programs"
    for child in children[:2]:
        places.vacate(child)
    places.close("over")
    assert memory.reserve(share, BUDGET_PART) is not None
    assert children[3].loss == "over"


def test_who_leaves_while_waiting_gets_nothing(make_child, memory):
    places, place = SessionPlaces(1, memory, MIB), Place()
    places.ask(place, make_child())
    places.leave(place)
    assert places.next() is None


# What a process has written.


def test_all_that_a_step_has_written_is_taken_in_however_large_the_pipe(make_child):
    child: SessionChild = make_child()
    stdout = child._childs_ends[2]
    fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, MIB)
    os.write(stdout, b"x" * (MIB - 4096))
    exchange = Exchange(1, Limits(), 5.0, 0.0)
    child.take_rest(exchange)
    assert exchange.stdout.total == MIB - 4096


# Flows.


def echo(poll: select.epoll, seconds: float) -> Flow[list[int]]:
    """Waits twice; returns how many events came each time."""
    first = yield Wait(poll, time.monotonic() + seconds)
    second = yield Wait(poll, time.monotonic() + seconds)
    return [len(first), len(second)]


def failing(poll: select.epoll) -> Flow[None]:
    yield Wait(poll, time.monotonic())
    raise LookupError("inside")


class Guarded:
    """A flow that notes how it was left."""

    closed = False

    def flow(self, poll: select.epoll) -> Flow[None]:
        try:
            yield Wait(poll, time.monotonic() + 60)
        finally:
            self.closed = True


@pytest.fixture
def bell():
    descriptor, poll = os.eventfd(0, os.EFD_NONBLOCK), select.epoll()
    poll.register(descriptor, select.EPOLLIN)
    yield descriptor, poll
    poll.close()
    os.close(descriptor)


@pytest.mark.parametrize("run", [run_flow, lambda flow: asyncio.run(arun_flow(flow))], ids=["thread", "asyncio"])
def test_flows_wait_for_events_and_for_time(bell, run):
    descriptor, poll = bell
    begun = time.monotonic()
    assert run(echo(poll, 0.05)) == [0, 0]
    assert 0.1 <= time.monotonic() - begun < 60
    timer = threading.Timer(0.05, os.eventfd_write, (descriptor, 1))
    timer.start()
    begun = time.monotonic()
    assert run(echo(poll, 300)) == [1, 1]
    assert time.monotonic() - begun < 60
    timer.join()


@pytest.mark.parametrize("run", [run_flow, lambda flow: asyncio.run(arun_flow(flow))], ids=["thread", "asyncio"])
def test_what_a_flow_raises_reaches_its_caller(bell, run):
    with pytest.raises(LookupError, match="inside"):
        run(failing(bell[1]))


async def test_cancelling_closes_the_flow_and_leaves_nothing_in_the_loop(bell):
    guarded = Guarded()
    task = asyncio.create_task(arun_flow(guarded.flow(bell[1])))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert guarded.closed
    assert not asyncio.get_running_loop().remove_reader(bell[1].fileno())
