"""Stages side by side: everything arrives once, few pieces are held, a slow stage slows all before it."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.tirgen.streaming import Stage, stream

SIZES = st.integers(1, 4)


@given(
    pieces=st.lists(st.integers(0, 3), max_size=30),
    workers=st.tuples(SIZES, SIZES),
    room=SIZES,
    pauses=st.lists(st.integers(0, 3), min_size=1, max_size=7),
)
def test_every_piece_arrives_exactly_once_and_few_are_held(pieces, workers, room, pauses):
    held = most = 0
    arrived = []

    def source() -> Iterator[tuple[int, int]]:
        nonlocal held, most
        for index, copies in enumerate(pieces):
            held += 1
            most = max(most, held)
            yield index, copies

    async def pause(index: int) -> None:
        for _ in range(pauses[index % len(pauses)]):
            await asyncio.sleep(0)

    async def multiply(piece: tuple[int, int]) -> list[tuple[int, int]]:
        nonlocal held
        index, copies = piece
        await pause(index)
        held += copies - 1
        return [(index, copy) for copy in range(copies)]

    async def carry(piece: tuple[int, int]) -> list[tuple[int, int]]:
        await pause(sum(piece))
        return [piece]

    def sink(piece: tuple[int, int]) -> None:
        nonlocal held
        held -= 1
        arrived.append(piece)

    first, second = workers
    asyncio.run(stream(source(), [Stage(multiply, first), Stage(carry, second)], sink, room))
    assert sorted(arrived) == [(index, copy) for index, copies in enumerate(pieces) for copy in range(copies)]
    assert held == 0
    # Three queues, the pieces in hand of both stages (three each of those that multiply), and the one being fed.
    assert most <= 3 * room + 3 * first + second + 2


def test_of_a_source_without_end_no_more_is_taken_than_a_slow_stage_lets_through():
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    async def quick(piece: int) -> list[int]:
        return [piece]

    async def stuck(piece: int) -> list[int]:
        await asyncio.Event().wait()
        return [piece]

    async def for_a_while() -> None:
        work = asyncio.create_task(stream(source(), [Stage(quick, 2), Stage(stuck, 1)], lambda piece: None, room=3))
        for _ in range(1000):
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(for_a_while())
    # Two queues of three, two pieces in quick hands, one in stuck ones, one that is being fed.
    assert taken == 10


@pytest.mark.parametrize("where", ["source", "stage", "sink"])
def test_an_error_anywhere_ends_it_as_it_is(where):
    def source() -> Iterator[int]:
        yield from range(3)
        if where == "source":
            raise OSError(where)
        yield from range(100)

    async def work(piece: int) -> list[int]:
        await asyncio.sleep(0)
        if where == "stage" and piece == 2:
            raise OSError(where)
        return [piece]

    def sink(piece: int) -> None:
        if where == "sink":
            raise OSError(where)

    with pytest.raises(OSError, match=where):
        asyncio.run(stream(source(), [Stage(work, 2)], sink, room=1))
