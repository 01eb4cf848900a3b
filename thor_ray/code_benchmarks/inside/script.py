"""Runs a candidate's program as a script: what it reads lies on standard input, what it prints goes into a file.

A file, since the sandbox keeps only the ends of long outputs. The limit on the processor's time is the kernel's: a
program cannot take it back.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from pathlib import Path
from typing import Any

ORDER, SOLUTION, PRINTED = "order.json", "solution.py", "printed.txt"


def main(namespace: dict[str, Any]) -> None:
    """Follows the order in this directory.

    Args:
        namespace: Of ``__main__``, which the program's names go into.
    """
    del namespace["main"]
    order = json.loads(Path(ORDER).read_text())
    source = Path(SOLUTION).read_bytes().decode("utf-8", "surrogatepass")
    descriptor = os.open(PRINTED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.close(descriptor)
    seconds = math.ceil(order["seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    exec(compile(order["prelude"], "<prelude>", "exec"), namespace)
    try:
        exec(compile(source, SOLUTION, "exec", dont_inherit=True), namespace)
    except SystemExit:
        sys.stdout.flush()  # `exit()` is how many scripts end, with whatever code
