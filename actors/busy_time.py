"""The share of engines that have something to sample, over time."""


class BusyTime:
    """Adds up engine-seconds; every call says what holds from now on."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._busy = self._all = 0
        self._busy_seconds = self._seconds = 0.0

    def note(self, now: float, busy: int, engines: int) -> None:
        """From ``now`` on, in seconds of any clock, ``busy`` of ``engines`` sample."""
        if self._since is not None:
            self._busy_seconds += (now - self._since) * self._busy
            self._seconds += (now - self._since) * self._all
        self._since, self._busy, self._all = now, busy, engines

    def share(self, now: float) -> float:
        """Since the last call, in [0, 1]."""
        self.note(now, self._busy, self._all)
        share = self._busy_seconds / self._seconds if self._seconds else 0.0
        self._busy_seconds = self._seconds = 0.0
        return share
