"""Runs a command and prints the peak memory of its whole process tree: `python benches/smoke/peak_memory.py make smoke`.

Memory is PSS (each shared page counted once in all), summed over the command and all its descendants, Ray's included.
"""

import subprocess
import sys
import time

import psutil

SECONDS_BETWEEN_LOOKS = 1.0


def tree_pss(root: psutil.Process) -> int:
    """Bytes of PSS of a process and its descendants; those that end meanwhile count nothing."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def main(command: list[str]) -> int:
    """Runs the command to its end and returns its exit code."""
    started = time.monotonic()
    running = subprocess.Popen(command)
    root, peak = psutil.Process(running.pid), 0
    while running.poll() is None:
        try:
            peak = max(peak, tree_pss(root))
        except psutil.NoSuchProcess:
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    code = running.wait()
    print(f"peak {peak / 2**30:.2f} GiB, {time.monotonic() - started:.0f} s, exit code {code}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
