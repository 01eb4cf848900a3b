"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft: small matrices train, the policy's own stay as they are.

Nobody outside the ranks sees an adapter: what is published, exported or handed to the next stage are whole weights
``W + scaling B A``, under the names of the model without adapters.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from thor_ray.config import LoraConfig
from thor_ray.errors import UserError

_ADAPTER: Final = "default"
_ADAPTED: Final = re.compile(r"(.*)\.base_layer\.weight")


class AdapterError(UserError):
    """Adapters cannot be attached."""


def attach(policy: PreTrainedModel, config: LoraConfig) -> None:
    """Freezes the policy and puts adapters beside its linear layers; at first they change nothing.

    Args:
        policy: Changed in place.
        config: Rank, scaling, and which layers.

    Raises:
        AdapterError: peft is not installed, or the policy has no layer of these names.
    """
    try:
        import peft
    except ImportError as error:
        raise AdapterError("learner.lora needs the package peft", "pip install peft==0.21.2") from error
    adapters = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.layers) or "all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        # All ranks must begin with the same matrices.
        torch.manual_seed(0)
        try:
            peft.inject_adapter_in_model(adapters, policy, _ADAPTER)
        except ValueError as error:
            raise AdapterError(f"learner.lora.layers {list(config.layers)}: {error}") from error
    # In the dtype of the policy, whatever peft prefers: ZeRO gathers parameters of one dtype.
    for parameter in policy.parameters():
        parameter.data = parameter.data.to(policy.dtype)


def merge_groups(module: nn.Module) -> dict[str, tuple[list[nn.Parameter], float]]:
    """What makes up each whole weight.

    Returns:
        By the name without adapters: the parameter alone, or ``[W, A, B]`` with the scaling of ``B A``.
    """
    parameters = dict(module.named_parameters())
    groups: dict[str, tuple[list[nn.Parameter], float]] = {}
    for name, parameter in parameters.items():
        if ".lora_" in name:
            continue
        if (adapted := _ADAPTED.fullmatch(name)) is None:
            groups[name.replace(".base_layer.", ".")] = [parameter], 0.0
            continue
        layer = adapted[1]
        pair = [parameters[f"{layer}.lora_{side}.{_ADAPTER}.weight"] for side in "AB"]
        groups[f"{layer}.weight"] = [parameter, *pair], _scaling(module.get_submodule(layer))
    return groups


def merge(weight: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """``W + scaling B A``, computed in float32 at least.

    Args:
        weight: ``[out, in]``, W.
        down: ``[rank, in]``, A.
        up: ``[out, rank]``, B.
        scaling: ``alpha / rank``.

    Returns:
        ``[out, in]``, in the dtype of ``weight``.
    """
    exact = torch.promote_types(weight.dtype, torch.float32)
    return torch.addmm(weight.to(exact), up.to(exact), down.to(exact), alpha=scaling).to(weight.dtype)


def merge_saved(saved: Mapping[str, Tensor], scaling: float) -> dict[str, Tensor]:
    """Whole weights out of a checkpoint's tensors, in which adapters lie apart.

    Args:
        saved: By names as they are with adapters.
        scaling: Of all adapters; looked at only if there are any.
    """
    whole = {}
    for name, tensor in saved.items():
        if ".lora_" in name:
            continue
        if adapted := _ADAPTED.fullmatch(name):
            down, up = (saved[f"{adapted[1]}.lora_{side}.{_ADAPTER}.weight"] for side in "AB")
            tensor = merge(tensor, down, up, scaling)
        whole[name.replace(".base_layer.", ".")] = tensor
    return whole


def _scaling(layer: Any) -> float:
    return float(layer.scaling[_ADAPTER])
