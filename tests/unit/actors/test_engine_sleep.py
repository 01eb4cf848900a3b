"""What of an engine sleeps, and how it wakes: on a GPU whose memory is counted, with vLLM's calls alone stood in for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.engine import VllmEngine
from actors.engine_sleep import Sleep
from actors.generation import EngineError, TurnError, WeightsUndefinedError
from thor_ray.weights import Delivery, WeightTransferError

SIZES = {"weights": 2, "kv_cache": 5}


class CountedGpu:
    """A GPU as vLLM's ``AsyncLLM`` holds and releases it; as strict as vLLM, which passes over a part that is awake.

    Args:
        frees: Whether falling asleep frees anything; it does not on a CPU, or if something else keeps the memory.
    """

    def __init__(self, frees: bool = True) -> None:
        self.free, self.awake, self.log = 0, set(SIZES), list[Any]()
        self.fails = False
        self._frees = frees

    async def sleep(self, level: int = 1, mode: Literal["abort", "wait", "keep"] = "abort") -> None:
        self.log.append(("sleep", level, mode))
        await asyncio.sleep(0)
        if self.fails:
            raise RuntimeError("EngineCore died")
        self.free += sum(SIZES[part] for part in self.awake) if self._frees else 0
        self.awake.clear()

    async def wake_up(self, tags: list[str] | None = None) -> bool:
        assert tags is not None, "nothing may wake all at once"
        for tag in tags:
            assert tag not in self.awake
            self.log.append(tag)
            await asyncio.sleep(0)
            if self.fails:
                raise RuntimeError("CUDA out of memory")
            self.awake.add(tag)
            self.free -= SIZES[tag]
        return self.awake == set(SIZES)

    async def free_memory(self) -> int:
        return self.free


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_weights_wake_before_the_cache_which_waits_until_it_is_asked_for():
    gpu = CountedGpu()
    sleep = Sleep(gpu, gpu.free_memory)
    assert run(sleep.begin()) == 7
    run(sleep.end("weights"))
    assert (gpu.awake, gpu.free) == ({"weights"}, 5)
    with pytest.raises(TurnError, match="wake it before it is given prompts"):
        sleep.require_awake()
    run(sleep.end("kv_cache"))
    sleep.require_awake()
    # Level 2 would discard the weights, and "abort" would end requests that nobody has checked for.
    assert gpu.log == [("sleep", 1, "keep"), "weights", "kv_cache"]


def test_it_falls_asleep_and_wakes_once_however_many_ask_at_once():
    gpu = CountedGpu()
    sleep = Sleep(gpu, gpu.free_memory)

    async def all_at_once() -> tuple[int, int]:
        freed = await asyncio.gather(sleep.begin(), sleep.begin())
        await asyncio.gather(sleep.end("kv_cache"), sleep.end("weights"), sleep.end("kv_cache"))
        return freed

    assert list(run(all_at_once())) == [7, 0]
    assert gpu.log == [("sleep", 1, "keep"), "weights", "kv_cache"]


def test_an_engine_that_frees_nothing_is_found_out_before_the_learner_runs_out_of_memory():
    gpu = CountedGpu(frees=False)
    with pytest.raises(EngineError, match="nothing became free"):
        run(Sleep(gpu, gpu.free_memory).begin())
    assert run(Sleep(CountedGpu(frees=False)).begin()) == 0, "a CPU has nothing to free"


def test_an_engine_without_room_to_wake_says_what_would_not_fit_and_serves_nothing():
    gpu = CountedGpu()
    sleep = Sleep(gpu, gpu.free_memory)
    run(sleep.begin())
    run(sleep.end("weights"))
    gpu.fails = True
    with pytest.raises(EngineError, match="could not wake its kv_cache: CUDA out of memory"):
        run(sleep.end("kv_cache"))
    assert sleep, "it takes no prompts"


class EngineOnCountedGpu(VllmEngine):
    """The engine with all of its own code, and vLLM's calls written down."""

    def __init__(self, gpu: CountedGpu, fails: bool = False) -> None:
        self._engine, self._gpu, self._fails = self, gpu, fails
        self._sleep = Sleep(gpu, gpu.free_memory)
        self._version, self._version_of_label = 0, {}
        self._update_failed = self._awaits_weights = False

    async def pause_generation(self, *, mode: str, clear_cache: bool) -> None:
        self._gpu.log.append("pause")

    async def resume_generation(self) -> None:
        assert self._gpu.awake == set(SIZES), "vLLM would sample without a cache"
        self._gpu.log.append("resume")

    async def update_weight_version(self, label: str) -> None:
        self._gpu.log.append(f"version {label}")

    async def _call_workers(self, method: str, *args: Any) -> list[Any]:
        self._gpu.log.append(method)
        if method == "receive_weights" and self._fails:
            raise WeightTransferError("bytes were changed on the way")
        return [("checksum",)]


DELIVERY = Delivery("link", 0, "shared_memory", "127.0.0.1", 1, version=3, buckets=())


def test_new_weights_are_loaded_before_the_cache_takes_its_memory():
    gpu = CountedGpu()
    engine = EngineOnCountedGpu(gpu)
    run(engine.sleep())
    del gpu.log[:]
    run(engine.update_weights(DELIVERY))
    assert gpu.log == ["weights", "pause", "receive_weights", "version 3", "kv_cache", "resume"]
    del gpu.log[:]
    run(engine.update_weights(DELIVERY))
    assert gpu.log == ["pause", "receive_weights", "version 3", "resume"], "an engine that is awake"


def test_weights_that_arrive_in_part_leave_the_cache_asleep_until_others_have_come():
    gpu = CountedGpu()
    engine = EngineOnCountedGpu(gpu, fails=True)
    run(engine.sleep())
    with pytest.raises(WeightTransferError):
        run(engine.update_weights(DELIVERY))
    with pytest.raises(WeightsUndefinedError):
        run(engine.wake_up())
    assert gpu.awake == {"weights"}
    engine._fails = False
    run(engine.update_weights(DELIVERY))
    assert (gpu.awake, engine.version) == (set(SIZES), 3)


class AnyOrder(RuleBasedStateMachine):
    """Whoever calls what in whichever order: an engine never serves with half of its memory."""

    @initialize()
    def start(self) -> None:
        self.gpu = CountedGpu()
        self.sleep = Sleep(self.gpu, self.gpu.free_memory)

    @rule()
    def begin(self) -> None:
        awake = not self.sleep
        assert run(self.sleep.begin()) == (7 if awake else 0)

    @rule(part=st.sampled_from(["weights", "kv_cache"]), fails=st.booleans())
    def end(self, part: Any, fails: bool) -> None:
        self.gpu.fails = fails
        try:
            run(self.sleep.end(part))
        except EngineError:
            assert fails
        self.gpu.fails = False

    @invariant()
    def it_says_of_itself_what_vllm_holds(self) -> None:
        assert bool(self.sleep) == (self.gpu.awake != set(SIZES))
        assert "weights" in self.gpu.awake or "kv_cache" not in self.gpu.awake
        assert self.gpu.free == sum(SIZES[part] for part in SIZES.keys() - self.gpu.awake)


TestAnyOrder = AnyOrder.TestCase
