"""How a zygote's memory is copied, which is most of what a short program costs.

A fork copies an entry for every page of the zygote's, and either process copies a page when it first writes to it. So there
should be few pages, and few writes.
"""

from __future__ import annotations

import ctypes
import gc
import os

_LARGE_PAGE = 2 * 1024 * 1024
_MADV_COLLAPSE = 25

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_fork = ctypes.PyDLL(None, use_errno=True).fork


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
    gc.freeze()
    _use_large_pages()


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
