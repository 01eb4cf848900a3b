"""The part of the engine that runs inside vLLM's own processes: loading weights, and dying with the parent.

vLLM imports this module in each worker process, before the model is loaded, because `actors.engine` names
`WeightUpdateExtension` as its worker extension.
"""

import ctypes
import multiprocessing
import os
import signal
from typing import Any, Final

import torch
from vllm.config import set_current_vllm_config
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

from thor_ray.weights import Delivery, NamedTensors, WeightReceiver, WeightTransferError

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Asks the kernel to kill this process as soon as the process that started it is gone, however that ended.

    Without it, an engine whose actor gets SIGKILL lives on: nobody is left to tell it to stop.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent.pid:
        # The parent died before the call above, so that no signal will come any more.
        os.kill(os.getpid(), signal.SIGKILL)


die_with_parent()


class WeightUpdateExtension:
    """What vLLM mixes into its worker class, called through ``collective_rpc``; nothing may be generated meanwhile.

    Of vLLM's own weight-transfer interface only the layer-wise reload is used: it has no transport for CPUs, and tells
    the caller neither what arrived nor who is waiting for whom.
    """

    model_runner: Any
    vllm_config: Any
    rank: int

    def answer(self) -> int:
        """Shows that this worker listens, where generation cannot: its rank."""
        return self.rank

    def free_memory(self) -> int:
        """Bytes that are free on this worker's GPU, whoever could take them; 0 on a CPU."""
        return torch.cuda.mem_get_info(self._device)[0] if self._device.type == "cuda" else 0

    def receive_weights(self, delivery: str) -> list[str]:
        """Replaces the weights by those of a delivery.

        Args:
            delivery: A `Delivery` as JSON, since vLLM's wire takes plain values only.

        Returns:
            Checksums of what arrived here, by bucket.

        Raises:
            WeightTransferError: what arrived is not what was sent, or some parameter got no value.
        """
        if not hasattr(self, "_receiver"):
            self._receiver = WeightReceiver(self.rank % self.vllm_config.parallel_config.world_size, self._device)
        model, loaded = self.model_runner.model, set[str]()

        def load(named: NamedTensors) -> None:
            loaded.update(model.load_weights((name, tensor.to(self._device)) for name, tensor in named))
            _keep_pending(model)

        with set_current_vllm_config(self.vllm_config), torch.no_grad():
            self._begin_reload()
            arrived = self._receiver.receive(Delivery.from_json(delivery), load)
            self._finish_reload(loaded)
        return list(arrived)

    @property
    def _device(self) -> torch.device:
        return torch.device(self.model_runner.device)

    def _begin_reload(self) -> None:
        """Makes the model ready to take checkpoint-format weights again.

        On a CPU, vLLM packs linear weights after loading and empties the parameters, so that plain ``load_weights``
        fails; the layer-wise reload restores them one layer at a time. On a GPU it keeps storages in place.
        """
        model = self.model_runner.model
        if getattr(self, "_reload_is_open", False):
            # The last update failed half-way; without this, vLLM takes its leftovers for the new update's.
            finalize_layerwise_reload(model, self.vllm_config.model_config)
        initialize_layerwise_reload(model)
        self._reload_is_open = True

    def _finish_reload(self, loaded: set[str]) -> None:
        """Packs what was loaded.

        On a CPU, an output head that is tied to the embedding keeps the packed copy of the *old* weights, silently;
        it is packed again here.

        Raises:
            WeightTransferError: some parameter got no value, which would quietly keep its old one.
        """
        model = self.model_runner.model
        awaited = {name for name, _ in model.named_parameters()}
        if getattr(model.config, "tie_word_embeddings", False):
            awaited -= {name for name in awaited if name.startswith("lm_head.")}
        if missing := sorted(awaited - loaded):
            raise WeightTransferError(f"{len(missing)} parameters got no value: {', '.join(missing[:3])}")
        finalize_layerwise_reload(model, self.vllm_config.model_config)
        self._reload_is_open = False
        if self._device.type == "cpu":
            for module in model.modules():
                if isinstance(module, ParallelLMHead):
                    module.quant_method.process_weights_after_loading(module)


def _keep_pending(model: torch.nn.Module) -> None:
    """Copies what the layer-wise reload holds of layers that are not whole yet: the bucket's bytes are about to go.

    A layer that lies in two buckets is held back as views into the first one until the second has come.
    """
    for layer in model.modules():
        for _, call in get_layerwise_info(layer).loaded_weights:
            for name, value in call.arguments.items():
                if isinstance(value, torch.Tensor) and value.device.type != "meta":
                    call.arguments[name] = value.clone()
