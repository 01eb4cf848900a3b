"""Work that flows through stages which run side by side, with few pieces between them at any time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Stage:
    """One station on the way of each piece.

    Attributes:
        work: Turns a piece into any number of pieces for the next stage.
        workers: How many pieces are worked on at the same time.
    """

    work: Callable[[Any], Awaitable[Iterable[Any]]]
    workers: int


async def stream(source: Iterable[Any], stages: Iterable[Stage], sink: Callable[[Any], None], room: int) -> None:
    """Leads every piece of ``source`` through all stages and into ``sink``, in whatever order they are done.

    Back-pressure: between two stages at most ``room`` pieces wait. A worker that finds no room for what it made waits, and
    takes nothing new; so a slow stage slows those before it, down to the source, of which nothing is taken ahead of need.
    What is held at any time is bounded by workers and room, however long the source is.

    Args:
        source: Where pieces come from.
        stages: In order.
        sink: Takes what leaves the last stage, one piece at a time.
        room: Pieces that wait before each stage, and before the sink.

    Raises:
        Exception: the first error of source, stages or sink; what was under way is given up.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            inlet: asyncio.Queue[Any] = asyncio.Queue(room)
            tasks.create_task(_feed(source, inlet))
            for stage in stages:
                outlet: asyncio.Queue[Any] = asyncio.Queue(room)
                tasks.create_task(_run(stage, inlet, outlet))
                inlet = outlet
            tasks.create_task(_drain(inlet, sink))
    except BaseExceptionGroup as group:
        raise _first(group) from None


_END: Final = object()
"""Behind the last piece of a queue."""


async def _feed(source: Iterable[Any], outlet: asyncio.Queue[Any]) -> None:
    for piece in source:
        await outlet.put(piece)
    await outlet.put(_END)


async def _run(stage: Stage, inlet: asyncio.Queue[Any], outlet: asyncio.Queue[Any]) -> None:
    async def worker() -> None:
        while (piece := await inlet.get()) is not _END:
            for made in await stage.work(piece):
                await outlet.put(made)
        # For the next worker. There is room: the mark has just been taken out, and nothing comes behind it.
        inlet.put_nowait(_END)

    async with asyncio.TaskGroup() as workers:
        for _ in range(stage.workers):
            workers.create_task(worker())
    await outlet.put(_END)


async def _drain(inlet: asyncio.Queue[Any], sink: Callable[[Any], None]) -> None:
    while (piece := await inlet.get()) is not _END:
        sink(piece)


def _first(error: BaseException) -> BaseException:
    """The first error of a group of groups."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
