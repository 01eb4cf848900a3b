"""Checkpoints to go on from: sharded, whole or absent, and telling of themselves what they are.

::

    <checkpoint>/
        learner.json             what the checkpoint is, and size and SHA-256 of every other file
        engine/                  DeepSpeed's shards of weights and optimizer
        random-rank-00000.pt     states of a rank's random number generators

A checkpoint is written beside its place and moved there once all of it is on the disk. Whoever reads one first
compares its files with what ``learner.json`` says, so that a damaged checkpoint is never loaded in part.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch

from thor_ray.errors import UserError

STATE_FILE: Final = "learner.json"
FORMAT: Final = 2
PARTIAL_SUFFIX: Final = ".partial"
"""Of a checkpoint that is being written, or whose writer was killed."""

ENGINE_TAG: Final = "engine"


class CheckpointError(UserError):
    """A checkpoint that cannot be used here."""


@dataclass(frozen=True, slots=True)
class FileFact:
    """What a file of a checkpoint must look like."""

    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """What a checkpoint holds besides weights, optimizer and random states.

    Attributes:
        version: Of the weights that were published last.
        updates: Optimizer steps that the current stage has taken, which is where its schedule stands.
        ranks: Number of ranks that wrote it.
        zero_stage: Of the ranks that wrote it.
        dtype: Of the weights.
        policy: Fingerprint of the policy's architecture: names and shapes of its parameters.
        settings: Fingerprint of what else decides the stage: objective, optimizer, schedule, temperature.
        trained_groups: Uids of the groups that the stage has trained on.
        lora_scaling: Of the adapters, where there are any.
        progress: Where the loop around the learner stands, in its own words, e.g. ``rounds``.
        files: All other files by their path within the checkpoint.
        format: Layout of the directory.
    """

    version: int
    updates: int
    ranks: int
    zero_stage: int
    dtype: str
    policy: str = ""
    settings: str = ""
    trained_groups: tuple[str, ...] = ()
    lora_scaling: float = 0.0
    progress: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, FileFact] = field(default_factory=dict)
    format: int = FORMAT


def fingerprint(*facts: object) -> str:
    """A short name for facts; the same for the same facts on every machine.

    Args:
        facts: Plain JSON values.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def save(engine: Any, path: Path, state: CheckpointState) -> None:
    """Writes a checkpoint; ``path`` appears only when it is complete. All ranks call it together.

    A checkpoint that stood there before is replaced. The directory must lie on storage that all ranks share.
    """
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    if rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    torch.distributed.barrier()
    engine.save_checkpoint(str(partial), tag=ENGINE_TAG, save_latest=False)
    torch.save(_random_states(), partial / _random_file(rank))
    torch.distributed.barrier()
    # Each rank reads back its share of the files, since hashing takes as long as writing.
    paths = sorted(file for file in partial.rglob("*") if file.is_file())
    shares: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(
        shares, {str(file.relative_to(partial)): _settle(file) for file in paths[rank::ranks]}
    )
    if rank == 0:
        files = {name: fact for share in shares for name, fact in share.items()}
        _write_state(partial, replace(state, files=dict(sorted(files.items()))))
        put_in_place(partial, path)
    torch.distributed.barrier()


def load(engine: Any, path: Path) -> CheckpointState:
    """Reads a checkpoint that any number of ranks wrote at the engine's ZeRO stage. All ranks call it, after ``verify``.

    Without ZeRO every rank reads the same file. With it, shards of another number of ranks are dealt anew by way of one
    of DeepSpeed's universal checkpoints, which hold weights and moments of each parameter whole; it lies beside ``path``
    meanwhile. Random states beyond those of the ranks that wrote the checkpoint begin anew.

    Raises:
        CheckpointError: DeepSpeed cannot make sense of it, or cannot turn it into a universal one.
    """
    state = read_state(path)
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if engine.zero_optimization() and state.ranks != ranks:
        _load_shards_of_others(engine, path, path.with_name(path.name + ".universal"))
    else:
        loaded, _ = engine.load_checkpoint(str(path), tag=ENGINE_TAG)
        if loaded is None:
            raise CheckpointError(f"{path} is incomplete: DeepSpeed finds no shards in it")
    random_file = path / _random_file(rank)
    if random_file.is_file():
        _restore_random_states(torch.load(random_file, weights_only=True))
    return state


def _load_shards_of_others(engine: Any, path: Path, scratch: Path) -> None:
    leading = torch.distributed.get_rank() == 0
    failure = [_convert(path / ENGINE_TAG, scratch / ENGINE_TAG) if leading else ""]
    torch.distributed.broadcast_object_list(failure, src=0)
    if failure[0]:
        raise CheckpointError(f"{path} cannot be dealt to another number of ranks: {failure[0]}")
    configuration = engine._config  # noqa: SLF001 - DeepSpeed reads the switch from nowhere else
    configuration.load_universal_checkpoint = True
    try:
        engine.load_checkpoint(str(scratch), tag=ENGINE_TAG)
        _separate_step_counts(engine.optimizer.optimizer)
    finally:
        configuration.load_universal_checkpoint = False
        torch.distributed.barrier()
        if leading:
            shutil.rmtree(scratch, ignore_errors=True)


def _separate_step_counts(optimizer: torch.optim.Optimizer) -> None:
    """Gives each parameter a step count of its own.

    DeepSpeed's ZeRO-3 loads one tensor for all of them. Where a model is so large that it is stepped in several
    sub-groups, each of them would count its step on that tensor, and the bias correction of all would be wrong.
    """
    for moments in optimizer.state.values():
        if torch.is_tensor(moments.get("step")):
            moments["step"] = moments["step"].clone()


def _convert(shards: Path, universal: Path) -> str:
    """Why it failed; empty if it did not."""
    shutil.rmtree(universal.parent, ignore_errors=True)
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    folders = ["--input_folder", str(shards), "--output_folder", str(universal)]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, check=False)
    return done.stderr[-2000:] if done.returncode else ""


def read_state(path: Path) -> CheckpointState:
    """What a checkpoint says of itself.

    Raises:
        CheckpointError: there is none, its ``learner.json`` is damaged, or another program wrote it.
    """
    file = path / STATE_FILE
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} is not a checkpoint of the learner: it has no {STATE_FILE}") from None
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise CheckpointError(f"{path} has a layout that this version cannot read; it reads layout {FORMAT}")
    try:
        facts = {name: FileFact(**fact) for name, fact in fields.pop("files").items()}
        return CheckpointState(**{**fields, "trained_groups": tuple(fields["trained_groups"]), "files": facts})
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: {error!r}") from error


def verify(path: Path) -> CheckpointState:
    """What a checkpoint says of itself, once every file of it is found whole.

    Raises:
        CheckpointError: as ``read_state``; or a file is missing, cut off or changed.
    """
    state = read_state(path)
    for name, fact in state.files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path} is damaged: {name} is missing")
        if (size := file.stat().st_size) != fact.nbytes:
            raise CheckpointError(f"{path} is damaged: {name} has {size} bytes instead of {fact.nbytes}")
        if _sha256(file) != fact.sha256:
            raise CheckpointError(f"{path} is damaged: the contents of {name} have changed since it was written")
    return state


def refuse_misfit(path: Path, state: CheckpointState, here: CheckpointState, *, same_ranks: bool = False) -> None:
    """Refuses what cannot be loaded here, or would go on with something else than it stopped.

    Args:
        path: The checkpoint.
        state: What it says of itself.
        here: What one that is written here would say.
        same_ranks: Its shards cannot be dealt to another number of ranks: DeepSpeed does not convert an optimizer that
            is offloaded to NVMe.

    Raises:
        CheckpointError: says what does not fit.
    """
    if state.policy != here.policy:
        raise CheckpointError(
            f"{path} belongs to another policy: its parameters have other names or shapes than the one given here",
            "give the policy.model that the checkpoint was trained from",
        )
    for name, stored, wanted in (
        ("policy.dtype", state.dtype, here.dtype),
        ("learner.zero_stage", state.zero_stage, here.zero_stage),
        ("learner.ranks", state.ranks, here.ranks if same_ranks else state.ranks),
    ):
        if stored != wanted:
            raise CheckpointError(
                f"{path} was written with {name}: {stored}, and cannot be loaded with {wanted}", f"set {name}: {stored}"
            )
    if state.settings != here.settings:
        raise CheckpointError(
            f"{path} was written under another objective, optimizer, schedule or temperature than is set here",
            "go on with the settings that the checkpoint was written under, or begin the stage anew",
        )


def put_in_place(new: Path, path: Path) -> None:
    """Moves a directory that is complete to its place, in which an older one may stand, once it is on the disk.

    At no moment is neither of them whole: what stood there first makes way as ``<name>.old``.
    """
    _synchronise(new)
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    new.replace(path)
    _synchronise(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_state(path: Path, state: CheckpointState) -> None:
    with (path / STATE_FILE).open("w", encoding="utf-8") as file:
        json.dump(asdict(state), file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def _settle(path: Path) -> FileFact:
    """Waits until a file is on the disk, and says what it then is."""
    _synchronise(path)
    return FileFact(path.stat().st_size, _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _random_file(rank: int) -> str:
    return f"random-rank-{rank:05d}.pt"


def _random_states() -> dict[str, torch.Tensor]:
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _restore_random_states(states: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
