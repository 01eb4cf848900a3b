"""Counts a program's threads, which no resource limit bounds by process.

A thread of the C library's makers takes 8 MiB of address space and is bounded by the memory limit; one that machine code
makes on a shared stack takes next to nothing of it, but a process id and 16 KiB of the kernel's memory. RLIMIT_NPROC counts
all processes of a user, the caller's own among them, and does not hold for root. So somebody has to look.
"""

from __future__ import annotations

from pathlib import Path

WATCH_SECONDS = 0.1
"""How often to look."""


def count_threads(pidfd: int) -> int:
    """How many threads the process behind a descriptor has; 0 if it is dead."""
    try:
        pid = int(Path(f"/proc/self/fdinfo/{pidfd}").read_text().split("Pid:")[1].split()[0])
        # After the command in parentheses, which may hold anything, come state, parent, ...; the 18th is num_threads.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[17])
    except (OSError, IndexError):
        return 0
