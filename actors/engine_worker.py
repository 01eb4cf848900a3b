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

from thor_ray.weights import BucketManifest, TensorEntry, WeightTransferError, checksum, unpack_bucket

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
    """Methods that vLLM mixes into its worker class, called through ``collective_rpc``.

    An update is ``begin_reload``, one ``reload_bucket`` per bucket, ``finish_reload``; nothing may
    be generated in between. The names don't collide with those of vLLM's own weight-transfer interface.
    """

    model_runner: Any
    vllm_config: Any

    def begin_reload(self) -> None:
        """Makes the model ready to take checkpoint-format weights again.

        On a CPU, vLLM packs linear weights after loading and empties the parameters, so that plain ``load_weights``
        fails; the layer-wise reload restores them one layer at a time. On a GPU it keeps storages in place.
        """
        model = self.model_runner.model
        with set_current_vllm_config(self.vllm_config), torch.no_grad():
            if getattr(self, "_reload_is_open", False):
                # The last update failed half-way; without this, vLLM takes its leftovers for the new update's.
                finalize_layerwise_reload(model, self.vllm_config.model_config)
            initialize_layerwise_reload(model)
        self._reloaded: set[str] = set()
        self._reload_is_open = True

    def reload_bucket(self, payload: bytes, tensors: list[tuple[Any, ...]], nbytes: int) -> str:
        """Loads one bucket.

        Args:
            payload: The bucket's bytes.
            tensors: Fields of each `TensorEntry`, since vLLM's wire takes plain values only.
            nbytes: Announced length.

        Returns:
            The checksum of the bytes that arrived here.

        Raises:
            WeightTransferError: the length is not the announced one.
        """
        entries = tuple(TensorEntry(name, dtype, tuple(shape), *rest) for name, dtype, shape, *rest in tensors)
        # One copy: the message's memory is read-only, and the layer-wise reload holds views until a layer is whole.
        buffer = torch.empty(len(payload), dtype=torch.uint8)
        buffer.numpy()[:] = memoryview(payload)
        arrived = checksum(payload)
        manifest = BucketManifest(entries, nbytes, arrived)
        named = unpack_bucket(buffer.to(self.model_runner.device), manifest)
        with set_current_vllm_config(self.vllm_config), torch.no_grad():
            self._reloaded |= self.model_runner.model.load_weights(named)
        return arrived

    def finish_reload(self) -> None:
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
        if missing := sorted(awaited - self._reloaded):
            raise WeightTransferError(f"{len(missing)} parameters got no value: {', '.join(missing[:3])}")
        with set_current_vllm_config(self.vllm_config), torch.no_grad():
            finalize_layerwise_reload(model, self.vllm_config.model_config)
            self._reload_is_open = False
            if self.model_runner.device.type == "cpu":
                for module in model.modules():
                    if isinstance(module, ParallelLMHead):
                        module.quant_method.process_weights_after_loading(module)
