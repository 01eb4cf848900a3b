"""Ctrl-C and SIGTERM while Ray starts, and after it has."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ray._private import utils

REQUESTS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests_wait() -> Iterator[None]:
    """For ``ray.init``: a request to stop is acted on at the end, by whoever would have got it at the beginning.

    Left to itself Ray takes SIGTERM: its handler ends the process at once, and another one, in C++, aborts it, so that no
    run would ever clean up or keep a checkpoint. Signals reach a process's main thread, so in any other nothing changes.
    A SIGTERM between Ray's C++ handler and the end of ``ray.init``, a fraction of a second, still aborts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.signal(number, lambda number, _: waiting.append(number)) for number in REQUESTS}
    rays_own = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = rays_own
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])
