"""Checkpoints to go on from, and exports to use elsewhere."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from learners import zero

STATE_FILE: Final = "learner.json"
FORMAT: Final = 1
_TAG: Final = "engine"
_NOT_COPIED: Final = ("config.json", "*.safetensors", "*.bin", "*.index.json", "*.pt", "*.pth", "*.md", ".*")
"""What an export writes itself, or what does not describe the new weights."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used here. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """What a checkpoint holds besides weights and optimizer.

    Attributes:
        version: Of the weights that were published last.
        updates: Optimizer steps that the current stage has taken.
        ranks: Number of ranks that wrote it; optimizer shards fit only the same number.
        zero_stage: Of the ranks that wrote it.
        dtype: Of the weights.
        format: Layout of the directory.
    """

    version: int
    updates: int
    ranks: int
    zero_stage: int
    dtype: str
    format: int = FORMAT


def save(engine: Any, path: Path, state: CheckpointState) -> None:
    """Writes a checkpoint; ``path`` appears only when it is complete. All ranks call it together.

    A checkpoint that stood there before is replaced.
    """
    partial = path.with_name(path.name + ".partial")
    if engine.global_rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    torch.distributed.barrier()
    engine.save_checkpoint(str(partial), tag=_TAG)
    torch.distributed.barrier()
    if engine.global_rank == 0:
        (partial / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        _replace(partial, path)
    torch.distributed.barrier()


def read_state(path: Path) -> CheckpointState:
    """What a checkpoint says of itself.

    Raises:
        CheckpointError: there is none, it is damaged, or another program wrote it.
    """
    try:
        fields = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not a checkpoint of the learner: it has no {STATE_FILE}") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path / STATE_FILE} is damaged: {error}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise CheckpointError(f"{path} has a layout that this version cannot read; it reads layout {FORMAT}")
    try:
        return CheckpointState(**fields)
    except TypeError as error:
        raise CheckpointError(f"{path / STATE_FILE} is damaged: {error}") from error


def refuse_misfit(path: Path, state: CheckpointState, *, ranks: int, zero_stage: int, dtype: str) -> None:
    """Raises ``CheckpointError`` if a checkpoint's shards do not fit this group of ranks."""
    for name, stored, wanted in (
        ("learner.ranks", state.ranks, ranks),
        ("learner.zero_stage", state.zero_stage, zero_stage),
        ("policy.dtype", state.dtype, dtype),
    ):
        if stored != wanted:
            raise CheckpointError(f"{path} was written with {name}: {stored}, and cannot be loaded with {wanted}")


def load(engine: Any, path: Path) -> CheckpointState:
    """Reads a checkpoint into an engine of the same shape. All ranks call it together.

    Raises:
        CheckpointError: there is none.
    """
    state = read_state(path)
    loaded, _ = engine.load_checkpoint(str(path), tag=_TAG)
    if loaded is None:
        raise CheckpointError(f"{path} is incomplete: DeepSpeed finds no shards in it")
    return state


def export(engine: Any, path: Path, source: Path) -> None:
    """Writes a Hugging Face directory: config, safetensors, and the tokenizer byte for byte. All ranks take part.

    Args:
        engine: Holds the weights.
        path: New directory, or one that an earlier export wrote.
        source: Model directory that training started from; the tokenizer comes from there.
    """
    policy = engine.module.policy
    if engine.global_rank != 0:
        for _ in zero.full_parameters(policy):
            pass
        return
    weights = {name: parameter.to("cpu", copy=True) for name, parameter in zero.full_parameters(policy)}
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    policy.save_pretrained(partial, state_dict=weights)
    _replace(partial, path)


def _replace(new: Path, path: Path) -> None:
    """Puts a complete directory in the place of an old one, of which nothing is lost before the new one stands."""
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)
