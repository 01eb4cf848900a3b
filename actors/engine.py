"""vLLM as an `Engine`: the only room of the house that knows it (with its worker half, `actors.engine_worker`)."""

import asyncio
import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from actors.engine_sleep import Sleep
from actors.gauge import PressureGauge
from actors.generation import (
    EngineError,
    Generation,
    GenerationRequest,
    Interruption,
    OnTokens,
    StopCause,
    WeightsUndefinedError,
)
from thor_ray.stream import EnginePressure
from thor_ray.weights import Delivery, WeightReceipt, WeightTransferError

ENVIRONMENT: Final = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CONFIGURE_LOGGING": "1",
}
"""Quiet, and no usage reports. Both may be overridden from outside."""

CPU_ENVIRONMENT: Final = {
    # One thread: with more, the threads of a small model wait for one another; 13x slower on a busy machine.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Compiling the log-prob helper takes 24 s and gains nothing.
    "TORCH_COMPILE_DISABLE": "1",
    # Keeps the worker inside the engine's process: one hop less per step, 1 GiB less memory.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
"""What vLLM needs on a machine without a GPU. Set, not defaulted: Ray presets the number of threads."""

DEAD: Final = "the vLLM engine process has died; its last lines are in this actor's log"

UNLABELLED: Final = "default"
"""What vLLM calls the weights that it started with."""

ABORT_SECONDS: Final = 0.05
"""Between two attempts to abort a request."""

CPU_BLOCK_SIZE: Final = 32
"""Granularity of prefix reuse; the CPU attention accepts multiples of 32 only."""

CPU_BATCHED_TOKENS: Final = 4096
"""Tokens per engine step at the most, prompts included."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one engine is set up.

    Attributes:
        model: Hugging Face model directory.
        dtype: ``float32`` or ``bfloat16``.
        max_context: Tokens of prompt and continuation.
        max_sequences: Sequences decoded at the same time.
        kv_cache_mib: Key-value cache on a CPU.
        gpu_memory_utilization: Share of a GPU's memory.
        tensor_parallel: GPUs per engine.
        seed: Of the engine itself; requests bring their own.
        version: Of the weights in ``model``.
        awaits_weights: Whether others are served by now, so that prompts are refused until these have come.
        shares_gpu: Whether a learner rank works on the same GPU while this engine sleeps.
    """

    model: str
    dtype: str = "float32"
    max_context: int = 512
    max_sequences: int = 128
    kv_cache_mib: int = 128
    gpu_memory_utilization: float = 0.8
    tensor_parallel: int = 1
    seed: int = 0
    version: int = 0
    awaits_weights: bool = False
    shares_gpu: bool = False


class VllmEngine:
    """vLLM's asynchronous engine behind the `Engine` protocol.

    Construction takes seconds and blocks. The engine core runs in a child process that dies with this one.
    """

    def __init__(self, settings: EngineSettings) -> None:
        on_gpu = torch.cuda.is_available()
        _prepare_environment(on_gpu)
        # Imported here, because vLLM reads the environment while it is imported.
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.sampling_params import RequestOutputKind, SamplingParams
        from vllm.v1.engine.async_llm import AsyncLLM

        self._sampling_params = SamplingParams
        self._final_only, self._cumulative = RequestOutputKind.FINAL_ONLY, RequestOutputKind.CUMULATIVE
        self._version = settings.version
        self._version_of_label = {UNLABELLED: settings.version}
        self._request_numbers = itertools.count()
        self._tokens_by_stop: dict[tuple[str, ...], list[int]] = {(): []}
        self._awaits_weights = settings.awaits_weights
        self._update_failed = False
        self._gauge = PressureGauge()
        self._engine: Any = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**_engine_arguments(settings, on_gpu)), stat_loggers=[lambda config, index: self._gauge]
        )
        self._end_ids = _end_of_sequence_ids(self._engine)
        self._sleep = Sleep(self._engine, self._free_memory if on_gpu else None)

    @property
    def version(self) -> int:
        """Version of the weights that serve requests now."""
        return self._version

    async def generate(
        self,
        request: GenerationRequest,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Generation:
        """Samples one continuation; see `Engine.generate`. Cancelling the call aborts the request.

        Raises:
            EngineError: as `Engine.generate`, and where this engine was started anew and still awaits its weights.
            TurnError: it sleeps.
        """
        if self._awaits_weights:
            raise EngineError("an engine that was started anew refuses prompts until it has got the current weights")
        self._sleep.require_awake()
        params = self._sampling_params(
            max_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            stop=list(request.stop) or None,
            stop_token_ids=self._stop_tokens(request.stop),
            include_stop_str_in_output=True,
            seed=request.seed,
            logprobs=0,
            flat_logprobs=True,
            detokenize=bool(request.stop),
            skip_special_tokens=False,
            output_kind=self._cumulative if on_tokens else self._final_only,
            skip_clone=True,
        )
        output = await self._final_output(request.ids, params, on_tokens, interruption)
        completion = output.outputs[0]
        version, *later_versions = self._versions(completion)
        return Generation(
            ids=tuple(completion.token_ids),
            log_probs=tuple(completion.logprobs.logprobs),
            cause=self._cause(completion),
            version=version[1],
            cached_tokens=output.num_cached_tokens or 0,
            later_versions=tuple(later_versions),
        )

    async def probe_log_probs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probs of given tokens under the current weights; see `Engine.probe_log_probs`."""
        self._require_defined_weights()
        self._sleep.require_awake()
        params = self._sampling_params(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=self._final_only,
        )
        probed = []
        for ids in sequences:
            output = await self._final_output(ids, params)
            rows = output.prompt_logprobs[1:]
            probed.append([row[token].logprob for row, token in zip(rows, ids[1:], strict=True)])
        return probed

    async def prove_life(self, ids: Sequence[int]) -> None:
        """Generates one real token after ``ids``, whichever weights are served: a living process is no proof of life.

        An engine that sleeps cannot; there an answer of all its workers has to do.

        Raises:
            WeightsUndefinedError: all workers answer, but generation rests since an update failed half-way.
            EngineError: the engine is dead.
        """
        if self._update_failed or self._sleep:
            await self._call_workers("answer")
        self._require_defined_weights()
        if self._sleep:
            return
        one_token = self._sampling_params(max_tokens=1, temperature=0.0, detokenize=False, output_kind=self._final_only)
        await self._final_output(ids, one_token)

    async def update_weights(self, delivery: Delivery) -> WeightReceipt:
        """Replaces the weights; see `Engine.update_weights`. Keys and values of the old weights are dropped.

        Requests in flight, and those that come meanwhile, wait. They keep their tokens and compute keys and values of
        these anew. After an update that failed half-way they wait on, until another one succeeds.

        An engine that sleeps wakes by and by: its weights to be replaced, its cache once they are.
        """
        started = time.perf_counter()
        await self._sleep.end("weights")
        await self._engine.pause_generation(mode="keep", clear_cache=True)
        try:
            answers = await self._call_workers("receive_weights", delivery.to_json())
            if any(answer != answers[0] for answer in answers):
                raise WeightTransferError(f"version {delivery.version}: workers of one engine got different bytes")
        except BaseException:
            # Whatever it was, a deadline included: the weights are a mixture now.
            self._update_failed = True
            raise
        label = str(delivery.version)
        self._version_of_label[label] = delivery.version
        await self._engine.update_weight_version(label)
        self._version = delivery.version
        self._update_failed = self._awaits_weights = False
        await self._sleep.end("kv_cache")
        await self._engine.resume_generation()
        return WeightReceipt(delivery.version, tuple(answers[0]), time.perf_counter() - started)

    async def sleep(self) -> int:
        """Gives the memory of weights and cache back, until ``wake_up`` or ``update_weights``; see `Sleep.begin`.

        Nothing may be in flight. On a CPU generation rests, but vLLM frees nothing.
        """
        return await self._sleep.begin()

    async def wake_up(self) -> None:
        """Takes the memory again and serves the weights that it fell asleep with. Harmless when awake.

        Raises:
            WeightsUndefinedError: an update failed half-way, so that there are no such weights.
            EngineError: there is no room for them, or the engine is dead.
        """
        self._require_defined_weights()
        await self._sleep.end("kv_cache")

    def close(self) -> None:
        """Ends the engine and its processes; harmless when called twice."""
        if self._engine is not None:
            self._engine.shutdown()
            # Its finaliser must run now: at interpreter exit the modules it needs are gone.
            self._engine = None

    def _stop_tokens(self, stop: tuple[str, ...]) -> list[int]:
        """Tokens that hold a whole stop string, at which the engine core can stop by itself, one step sooner.

        Stop strings alone are found one process further on, while the core has gone on sampling.
        """
        if stop not in self._tokens_by_stop:
            tokenizer = self._engine.get_tokenizer()
            texts = enumerate(tokenizer.batch_decode([[token] for token in range(len(tokenizer))]))
            self._tokens_by_stop[stop] = [token for token, text in texts if any(string in text for string in stop)]
        return self._tokens_by_stop[stop]

    def pressure(self) -> EnginePressure:
        """How full the key-value cache is, and what had to be evicted from it since this was asked last."""
        return self._gauge.read()

    async def _final_output(
        self,
        ids: Sequence[int],
        params: Any,
        on_tokens: OnTokens | None = None,
        interruption: Interruption | None = None,
    ) -> Any:
        from vllm.v1.engine.exceptions import EngineDeadError

        prompt = {"type": "token", "prompt_token_ids": list(ids)}
        if self._engine is None:
            raise EngineError("the engine is closed")
        output, shown, request_id = None, 0, f"r{next(self._request_numbers)}"
        aborting = None if interruption is None else asyncio.create_task(self._abort(request_id, interruption))
        try:
            async for output in self._engine.generate(prompt, params, request_id):
                if on_tokens is not None:
                    sampled = output.outputs[0].token_ids
                    on_tokens(sampled[shown:])
                    shown = len(sampled)
        except EngineDeadError as error:
            raise EngineError(DEAD) from error
        except ValueError as error:
            raise EngineError(f"vLLM refused a request of {len(ids)} tokens: {error}") from error
        finally:
            if aborting is not None:
                aborting.cancel()
        if output is None:
            raise EngineError("vLLM ended a request without an output")
        return output

    async def _abort(self, request_id: str, interruption: Interruption) -> None:
        """Once interrupted, aborts a request again and again: one that vLLM does not know yet is not aborted by it."""
        await interruption.wait()
        while True:
            await self._engine.abort(request_id)
            await asyncio.sleep(ABORT_SECONDS)

    def _versions(self, completion: Any) -> list[tuple[int, int]]:
        """Runs of tokens that the same weights sampled: their first position and version, the first run at 0."""
        runs = [(span.start, self._version_of_label[span.version]) for span in completion.weight_versions or ()]
        if not runs and completion.token_ids:
            raise EngineError("vLLM did not say which weights sampled a request's tokens")
        return runs or [(0, self._version)]

    def _cause(self, completion: Any) -> StopCause:
        if completion.finish_reason == "length":
            return StopCause.LENGTH
        if completion.finish_reason != "stop":
            return StopCause.ABORTED
        if isinstance(completion.stop_reason, str):
            return StopCause.STOP
        return StopCause.EOS if completion.token_ids[-1] in self._end_ids else StopCause.STOP

    def _require_defined_weights(self) -> None:
        if self._update_failed:
            raise WeightsUndefinedError(
                "the weights are undefined, since their last update failed: update them again first"
            )

    async def _free_memory(self) -> int:
        return sum(await self._call_workers("free_memory"))

    async def _call_workers(self, method: str, *args: Any) -> list[Any]:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            results: list[Any] = await self._engine.collective_rpc(method, args=args)
        except EngineDeadError as error:
            raise EngineError(DEAD) from error
        except Exception as error:
            # What a worker raises arrives as a bare Exception with the message alone.
            raise WeightTransferError(f"{method} failed in the engine: {error}") from error
        return results


def _prepare_environment(on_gpu: bool) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not on_gpu:
        os.environ.update(CPU_ENVIRONMENT)


def _engine_arguments(settings: EngineSettings, on_gpu: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": settings.model,
        "dtype": settings.dtype,
        "max_model_len": settings.max_context,
        "max_num_seqs": settings.max_sequences,
        "tensor_parallel_size": settings.tensor_parallel,
        "seed": settings.seed,
        "enable_prefix_caching": True,
        # Log-probs of the distribution that is sampled from: temperature and truncation included.
        "logprobs_mode": "processed_logprobs",
        "worker_extension_cls": "actors.engine_worker.WeightUpdateExtension",
        "enable_log_requests": False,
        "disable_log_stats": True,
    }
    if on_gpu:
        return arguments | {
            "gpu_memory_utilization": settings.gpu_memory_utilization,
            "enable_sleep_mode": settings.shares_gpu,
        }
    return arguments | {
        "enforce_eager": True,
        "block_size": CPU_BLOCK_SIZE,
        # A prompt split over two steps kills the engine when its request has a seed of its own: vLLM 0.32 rewinds the
        # request's generator by an offset, which CPU generators don't have.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(settings.max_context, CPU_BATCHED_TOKENS),
        "kv_cache_memory_bytes": settings.kv_cache_mib * 2**20,
    }


def _end_of_sequence_ids(engine: Any) -> frozenset[int]:
    """The tokenizer's end-of-sequence token and those that the model's generation settings name."""
    configured = engine.model_config.try_get_generation_config().get("eos_token_id")
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*ids, engine.get_tokenizer().eos_token_id] if token is not None)
