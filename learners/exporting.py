"""Hugging Face directories out of what the learner holds or has saved, which transformers and vLLM load."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from learners.adapters import merge_saved
from learners.checkpoint import ENGINE_TAG, PARTIAL_SUFFIX, CheckpointError, put_in_place, verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NOT_COPIED: Final = ("config.json", "*.safetensors", "*.bin", "*.index.json", "*.pt", "*.pth", "*.md", ".*")
"""What an export writes itself, or what does not describe the new weights."""

_POLICY: Final = "policy."
"""What the names of the policy's parameters begin with inside ``TokenLogProbs``."""


def write_model(policy: "PreTrainedModel", weights: Mapping[str, Tensor], source: Path, path: Path) -> None:
    """Writes a Hugging Face directory: config, safetensors, and the tokenizer byte for byte.

    Args:
        policy: Gives the architecture; its own weights are not looked at.
        weights: Full tensors on the CPU, by the names of ``named_parameters``.
        source: Model directory that training started from; tokenizer and generation settings come from there.
        path: New directory, or one that an earlier export wrote.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    policy.save_pretrained(partial, state_dict=dict(weights))
    put_in_place(partial, path)


def copy_model(source: Path, path: Path) -> None:
    """Copies a model directory; ``path`` appears, or is replaced, only when the copy is complete."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    put_in_place(partial, path)


def export_checkpoint(checkpoint: Path, source: Path, path: Path) -> None:
    """Writes a Hugging Face directory out of a checkpoint, without ranks or GPUs; all weights must fit into memory.

    Args:
        checkpoint: Of the learner, at any ZeRO stage.
        source: Model directory that training started from.
        path: New directory.

    Raises:
        CheckpointError: the checkpoint is damaged, or its parameters are not those of the model in ``source``.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    state = verify(checkpoint)
    dtype = getattr(torch, state.dtype)
    with torch.device("meta"):
        policy = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source), dtype=dtype)
    found = merge_saved(_checkpoint_parameters(checkpoint, state.zero_stage), state.lora_scaling)
    shapes = {name: parameter.shape for name, parameter in policy.named_parameters()}
    if {name: found[name].shape for name in shapes.keys() & found.keys()} != shapes:
        raise CheckpointError(
            f"{checkpoint} does not hold the parameters of the model in {source}",
            "name the model directory that the stage began with",
        )
    write_model(policy, {name: found[name].to(dtype) for name in shapes}, source, path)


def _checkpoint_parameters(checkpoint: Path, zero_stage: int) -> dict[str, Tensor]:
    """Full tensors by the policy's names, out of DeepSpeed's shards."""
    saved: Mapping[str, Any]
    if zero_stage == 0:
        (file,) = (checkpoint / ENGINE_TAG).glob("mp_rank_00_model_states.pt")
        saved = torch.load(file, map_location="cpu", weights_only=False)["module"]
    else:
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        saved = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), tag=ENGINE_TAG)
    return {name.removeprefix(_POLICY): tensor.detach() for name, tensor in saved.items() if name.startswith(_POLICY)}
