"""Ctrl-C, and a request to terminate, in a stage of rounds: what is finished is kept, then the run ends."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

from learners.checkpoint import CheckpointError
from thor_ray.errors import UserError, WorkerError

logger = logging.getLogger(__name__)

REQUESTS: Final = (signal.SIGINT, signal.SIGTERM)


class OrderlyStop(AbstractContextManager["OrderlyStop"]):
    """Lets a run be stopped between two updates of its weights only, and keeps what it has learnt by then.

    While a round is sampled, a request ends the run at once: the weights are those of the round before, and what was
    sampled of this one is sampled again. While a round is learnt from, a request waits for the round's end; a second
    one does not. Signals reach a process's main thread, so in any other this changes nothing.

    Args:
        keep: Called when the run is being stopped, with the number of rounds that are finished; takes a checkpoint of
            them if there is none.
        done: Rounds that are finished already.

    Raises:
        KeyboardInterrupt: from within the block, where the run may be stopped.
    """

    def __init__(self, keep: Callable[[int], None], done: int) -> None:
        self._keep, self._done = keep, done
        self._held = False
        self._requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in REQUESTS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            # In the middle of a round the weights are none that a checkpoint could go on from.
            if isinstance(error, KeyboardInterrupt) and not self._held:
                self._keep_finished()
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @contextmanager
    def finishing(self, done: int) -> Iterator[None]:
        """Within, weights change or are being written: a request has to wait until so many rounds are finished.

        Raises:
            KeyboardInterrupt: at the end, if that was asked for.
        """
        self._held = True
        yield
        self._done, self._held = done, False
        if self._requested:
            raise KeyboardInterrupt

    def _keep_finished(self) -> None:
        # A second request must not cut the checkpoint short; whoever is in a hurry has SIGKILL.
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        try:
            self._keep(self._done)
        except (CheckpointError, UserError, WorkerError, OSError) as error:
            logger.warning("stopping: no checkpoint of the last rounds could be written: %s", error)
        else:
            logger.warning("stopping: %d finished rounds are kept; what was being sampled is sampled again", self._done)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested or not self._held:
            raise KeyboardInterrupt
        self._requested = True
        logger.warning("stopping: after the round that is being learnt from; once more stops at once")
