"""Listens to what vLLM tells of each of its steps, and keeps what the stream wants to know of it."""

from typing import Any

from thor_ray.stream import EnginePressure


class PressureGauge:
    """One engine's pressure, as one of vLLM's stat loggers, which are called after each step of the engine."""

    def __init__(self) -> None:
        self._kv_usage = 0.0
        self._waiting = self._preemptions = 0

    def read(self) -> EnginePressure:
        """How full the engine is now; preemptions are those since the last reading."""
        pressure = EnginePressure(self._kv_usage, self._preemptions, self._waiting)
        self._preemptions = 0
        return pressure

    def record(
        self, scheduler_stats: Any | None, iteration_stats: Any | None, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        """Called by vLLM with ``SchedulerStats`` and ``IterationStats``, either of which may be missing."""
        if scheduler_stats is not None:
            self._kv_usage = scheduler_stats.kv_cache_usage
            self._waiting = scheduler_stats.num_waiting_reqs
        if iteration_stats is not None:
            self._preemptions += iteration_stats.num_preempted_reqs

    def log(self) -> None:
        """Nothing is printed."""

    def log_engine_initialized(self) -> None:
        """Nothing is printed."""
