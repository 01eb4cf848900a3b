"""Checks before any work starts: what is missing is named, all at once, with what to do about it."""

import json
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from thor_ray.errors import PreflightError
from thor_ray.files import MEBIBYTE, free_mebibytes

CGROUP: Final = Path("/sys/fs/cgroup")
SAFETENSORS_HEADER_LIMIT: Final = 100 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the work cannot start.

    Attributes:
        message: Names the thing.
        remedy: What to do.
    """

    message: str
    remedy: str


def require(*checks: Iterable[Fault]) -> None:
    """Runs all checks and refuses to go on if any of them found a fault.

    Raises:
        PreflightError: names every fault and its remedy.
    """
    faults = [fault for check in checks for fault in check]
    if len(faults) == 1:
        raise PreflightError(faults[0].message, faults[0].remedy)
    if faults:
        lines = "".join(f"\n  * {fault.message}\n    fix: {fault.remedy}" for fault in faults)
        raise PreflightError(f"{len(faults)} things are in the way:{lines}")


def memory_faults(mebibytes: int) -> Iterator[Fault]:
    """Too little memory is available to this process, limits of its container included."""
    available = available_memory()
    if available < mebibytes:
        yield Fault(
            f"{mebibytes} MiB of memory are needed, {available} MiB are available",
            "end other programs, or lower engine.kv_cache_mib and engine.max_sequences",
        )


def disk_faults(path: Path, mebibytes: int) -> Iterator[Fault]:
    """Too little room on the disk of ``path``, which need not exist yet."""
    free = free_mebibytes(path)
    if free < mebibytes:
        yield Fault(
            f"{mebibytes} MiB of disk are needed for {path}, {free} MiB are free",
            f"free {mebibytes - free} MiB, or choose another place with --run-dir",
        )


def model_faults(path: Path) -> Iterator[Fault]:
    """``path`` is not a whole Hugging Face model directory: configuration, fast tokenizer, safetensors weights."""
    if not path.is_dir():
        yield Fault(f"there is no model directory {path}", "give a directory, or `tiny` for the policy that is shipped")
        return
    for name, what in (("config.json", "configuration"), ("tokenizer.json", "fast tokenizer")):
        try:
            json.loads((path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            yield Fault(f"{path} has no {what} ({name})", "save it there with transformers' save_pretrained")
        except (OSError, ValueError) as error:
            yield Fault(f"{path / name} cannot be read: {error}", "copy the model anew")
    weights, fault = _weight_files(path)
    if fault is not None:
        yield fault
    for file in weights:
        if (trouble := safetensors_trouble(file)) is not None:
            yield Fault(f"{file} {trouble}", "copy the model anew")


def file_faults(path: Path, what: str) -> Iterator[Fault]:
    """A file that the work reads is missing or may not be read."""
    if not path.is_file():
        yield Fault(f"there is no {what} {path}", "give the path of an existing file")
        return
    try:
        path.open("rb").close()
    except PermissionError:
        yield Fault(f"the {what} {path} may not be read by this user", f"chmod u+r {path}, or give another file")


def port_faults(port: int, what: str) -> Iterator[Fault]:
    """Another program listens on a port of this machine that ``what`` was told to use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            yield Fault(f"port {port} for {what} is taken: {error.strerror}", "end what listens there, or name another")


def listens(address: str, seconds: float = 3.0) -> bool:
    """Whether something listens at ``host:port``, with or without a scheme before it; true where that is not said."""
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if not separator or not port.isdecimal():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=seconds).close()
    except OSError:
        return False
    return True


def available_memory() -> int:
    """MiB that this process may still use: of the machine, and of its control group if that is limited."""
    available = psutil.virtual_memory().available
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return available // MEBIBYTE
    return (available if limit == "max" else min(available, max(int(limit) - used, 0))) // MEBIBYTE


def safetensors_trouble(path: Path) -> str | None:
    """What is wrong with a safetensors file as far as its header tells: a torn copy is found without reading it all."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, SAFETENSORS_HEADER_LIMIT):
                return "is torn: its header does not fit into it"
            header = json.loads(file.read(length))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"is no safetensors file: {error}"
    return None if size == 8 + length + end else f"is torn: {size} bytes, its header says {8 + length + end}"


def _weight_files(path: Path) -> tuple[list[Path], Fault | None]:
    """The files that hold the weights, or why they cannot be told."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        single = path / "model.safetensors"
        if single.is_file():
            return [single], None
        return [], Fault(f"{path} has no weights (model.safetensors)", "convert them with save_pretrained")
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return [], Fault(f"{index} cannot be read: {error}", "copy the model anew")
    return [path / name for name in sorted(names)], None
