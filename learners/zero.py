"""The narrow waist to DeepSpeed: one process group, one engine, full parameters out of shards."""

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from thor_ray.config import OffloadConfig, OptimizerConfig
from thor_ray.weights import Bucket, ParameterFacts


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where the ranks of a learner meet, and which of them this one is."""

    rank: int
    world_size: int
    address: str
    port: int


def join(rendezvous: Rendezvous, timeout_seconds: float) -> None:
    """Makes this process one rank of a process group: nccl where there is a GPU, else gloo.

    Without a GPU the environment must hold ``DS_ACCELERATOR=cpu`` from the start: whoever imports DeepSpeed first,
    maybe transformers, makes it choose its accelerator.

    Args:
        rendezvous: Who and where.
        timeout_seconds: After which a collective operation gives up on a missing rank.
    """
    cuda = torch.cuda.is_available()
    os.environ.update(
        RANK=str(rendezvous.rank),
        WORLD_SIZE=str(rendezvous.world_size),
        LOCAL_RANK="0",  # Ray shows each rank only its own GPU.
        MASTER_ADDR=rendezvous.address,
        MASTER_PORT=str(rendezvous.port),
    )
    import deepspeed

    # DeepSpeed calls collectives under names that this torch renames, once per call site.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    if not cuda:
        _avoid_compilation()
    deepspeed.init_distributed(
        dist_backend="nccl" if cuda else "gloo",
        timeout=timedelta(seconds=timeout_seconds),
        verbose=False,
    )


def engine_config(
    optimizer: OptimizerConfig, zero_stage: int, dtype: torch.dtype, offload: OffloadConfig
) -> dict[str, Any]:
    """DeepSpeed's configuration. Batch sizes in it are formal: the learner says itself where a mini-batch ends."""
    bfloat16 = dtype is torch.bfloat16
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": optimizer.max_grad_norm,
        "zero_optimization": {"stage": zero_stage, **_offload_config(offload)},
        # torch's own AdamW also steps on a CPU.
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bfloat16},
    }
    if bfloat16:
        config["bf16"]["check_grad_overflow"] = True
        # Sums over micro-batches in bfloat16 would depend on how the mini-batch was split.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


def _offload_config(offload: OffloadConfig) -> dict[str, Any]:
    path = {} if offload.nvme_path is None else {"nvme_path": str(offload.nvme_path)}
    devices = {"offload_optimizer": offload.optimizer, "offload_param": offload.parameters}
    return {
        name: {"device": device, **(path if device == "nvme" else {})}
        for name, device in devices.items()
        if device != "none"
    }


def build_engine(
    module: nn.Module, optimizer: OptimizerConfig, zero_stage: int, dtype: torch.dtype, offload: OffloadConfig
) -> Any:
    """A DeepSpeed engine with a new torch AdamW, whose state starts from zero.

    DeepSpeed's own CPU Adam is not used: it would be compiled at run time.
    """
    import deepspeed

    from learners.model import VocabularyProjection

    if zero_stage == 3:
        deepspeed.utils.set_z3_leaf_modules(module, [VocabularyProjection])
    adamw = torch.optim.AdamW(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=optimizer.learning_rate,
        betas=optimizer.betas,
        weight_decay=optimizer.weight_decay,
    )
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=adamw,
        config=engine_config(optimizer, zero_stage, dtype, offload),
        dist_init_required=False,
    )
    return engine


def offload_states(engine: Any) -> None:
    """Moves the optimizer, with its float32 weights and gradients, into the machine's memory; the model stays.

    So the weights can be published, and log-probs be computed, at any time. DeepSpeed cannot move parts back one by one.

    Args:
        engine: Of ZeRO 2, or one whose optimizer is off-loaded for good. There nothing is left to be moved but buffers,
            and DeepSpeed refuses to be asked where parameters are off-loaded, too.
    """
    from deepspeed.runtime.zero.offload_config import OffloadDeviceEnum, OffloadStateTypeEnum

    offload = engine.zero_offload_param()
    if offload is None or offload.device == OffloadDeviceEnum.none:
        engine.offload_states(include=[state for state in OffloadStateTypeEnum if state != "lp_params"])
    # What the last update has left in the allocator is of no use to others.
    torch.cuda.empty_cache()


def reload_states(engine: Any) -> None:
    """Moves what ``offload_states`` took away back onto the engine's device."""
    engine.reload_states()


def announce(engine: Any, *, last: bool) -> None:
    """Says before a micro-batch's forward pass whether the mini-batch ends with it."""
    engine.set_gradient_accumulation_boundary(last)


def accumulate(engine: Any, loss: Tensor) -> None:
    """Adds a micro-batch's gradient.

    DeepSpeed averages gradients over ranks, but our losses already carry global denominators and must be added up.

    A loss that is not finite makes the whole gradient so, even where its own would not be: ``step`` then skips the
    update on every rank, without the ranks having to talk about it.

    Args:
        engine: The engine.
        loss: Scalar, this micro-batch's share of the mini-batch's loss.
    """
    factor = engine.world_size if loss.isfinite() else math.nan
    engine.backward(loss * factor, scale_wrt_gas=False)


def step(engine: Any, learning_rate: float) -> float:
    """Takes one optimizer step with clipping, unless the gradient is not finite: then all of it is forgotten.

    Returns:
        The gradient's norm over all parameters, before clipping; not finite if the step was skipped.
    """
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate
    # Without ZeRO and in float32 DeepSpeed keeps no norm, but then gradients are whole on each rank.
    whole = [] if engine.zero_optimization() else [parameter.grad for parameter in engine.module.parameters()]
    own_norm = torch.nn.utils.get_total_norm([gradient for gradient in whole if gradient is not None])
    if not own_norm.isfinite():
        # Optimizers of ZeRO do this by themselves.
        engine.zero_grad()
        return float(own_norm)
    engine.step()
    norm = engine.get_global_grad_norm()
    return float(own_norm if norm is None else norm)


def full_parameters(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields each weight whole, one at a time: gathered if ZeRO-3 has sharded it, with its adapter merged in.

    A collective operation: every rank must go through to the end. A tensor is valid until the next one is asked for.
    Names are those of the model without adapters.
    """
    import deepspeed

    from learners.adapters import merge_groups

    for name, (parameters, scaling) in merge_groups(module).items():
        with deepspeed.zero.GatheredParameters(parameters, enabled=hasattr(parameters[0], "ds_id")):
            yield name, _whole(parameters, scaling)


def parameter_facts(module: nn.Module) -> list[ParameterFacts]:
    """Names, dtypes and full shapes of the weights that ``full_parameters`` yields, without gathering any."""
    from learners.adapters import merge_groups

    return [
        ParameterFacts(
            name,
            str(parameters[0].dtype).removeprefix("torch."),
            tuple(getattr(parameters[0], "ds_shape", parameters[0].shape)),
        )
        for name, (parameters, _) in merge_groups(module).items()
    ]


def gathered_buckets(module: nn.Module, buckets: Iterable[Bucket]) -> Iterator[Iterator[tuple[str, Tensor]]]:
    """Yields the whole weights of one bucket after the other, with adapters merged in.

    ZeRO-3 gathers a bucket's shards in one collective operation and frees them before the next bucket's, so that no
    rank holds more than one bucket in addition to its own shards. Every rank must go through to the end.
    """
    import deepspeed

    from learners.adapters import merge_groups

    groups = merge_groups(module)
    for bucket in buckets:
        members = [(entry.name, *groups[entry.name]) for entry in bucket.tensors]
        sharded = [each for _, parameters, _ in members for each in parameters if hasattr(each, "ds_id")]
        with deepspeed.zero.GatheredParameters(sharded, enabled=bool(sharded)):
            yield ((name, _whole(parameters, scaling)) for name, parameters, scaling in members)


def _whole(parameters: Sequence[Tensor], scaling: float) -> Tensor:
    """A weight with its adapter merged in, if it has one. All of them are gathered."""
    from learners.adapters import merge

    weight, *adapter = (parameter.detach() for parameter in parameters)
    return merge(weight, adapter[0], adapter[1], scaling) if adapter else weight


def _avoid_compilation() -> None:
    """Keeps DeepSpeed from compiling native code: shared-memory collectives take a minute, and gloo serves as well."""
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}
