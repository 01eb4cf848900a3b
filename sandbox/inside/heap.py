"""How a zygote's memory is copied, which is most of what a short program costs.

A fork copies an entry for every page of the zygote's, and either process copies a page when it first writes to it. So there
should be few pages, and few writes.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys

_LARGE_PAGE = 2 * 1024 * 1024
_MADV_COLLAPSE = 25

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_fork = ctypes.PyDLL(None, use_errno=True).fork
_stuffing: list[list[object]] = []


def fork() -> int:
    """`os.fork` for a process that never had a second thread.

    `os.fork` also repairs in the child what threads may have left half done, and runs the hooks of modules that keep locks or
    random generators. Without threads nothing is half done, and a child seeds the generators itself; but each of these steps
    writes to pages that the child has to copy first.

    Returns:
        The child's process id, in the child 0.

    Raises:
        OSError: the kernel gives no process.
    """
    process: int = _fork()
    if process < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return process


def settle() -> None:
    """Prepares this process's memory for being copied, once the libraries are loaded."""
    gc.collect()
    _fill_holes()
    gc.freeze()
    _use_large_pages()


def _fill_holes() -> None:
    """Occupies what is free in the pools of small objects, so that new objects lie together on pages of their own.

    Otherwise nearly every object that a child makes lands in another half-full pool, next to objects of the zygote's.
    """
    for line in _allocator_statistics().splitlines():
        # class, block size, pools, blocks in use, blocks available
        fields = line.split()
        if len(fields) == 5 and all(field.isdigit() for field in fields):
            size, available = int(fields[1]), int(fields[4])
            _stuffing.append([_block(size) for _ in range(available)])


def _block(size: int) -> object:
    """A new object of a size class: 16 bytes, 32, 48 and so on."""
    match size:
        case 16:
            return object()
        case 32:
            return float(size)
        case _:
            return bytes(size - sys.getsizeof(b""))


def _allocator_statistics() -> str:
    """What the interpreter says about its pools; only on standard error, so that is led elsewhere meanwhile."""
    kept = os.dup(2)
    told = os.memfd_create("statistics")
    os.dup2(told, 2)
    try:
        sys._debugmallocstats()  # noqa: SLF001 - nothing else tells
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    with open(told, "rb") as file:
        file.seek(0)
        return file.read().decode()


def _use_large_pages() -> None:
    """Moves the heap into pages of 2 MiB, as far as the kernel will; it copies only those parts that are written to.

    Linux 6.1 or newer; elsewhere this changes nothing.
    """
    with open("/proc/self/maps") as file:
        mappings = [line.split() for line in file]
    for addresses, access, _, _, inode, *name in mappings:
        if access.startswith("rw") and inode == "0" and name in ([], ["[heap]"]):
            first, end = (int(address, 16) for address in addresses.split("-"))
            first = -(-first // _LARGE_PAGE) * _LARGE_PAGE
            size = (end - first) // _LARGE_PAGE * _LARGE_PAGE
            if size > 0:
                _libc.madvise(first, size, _MADV_COLLAPSE)
