"""The process that does algebra: ``python -P -m thor_ray.grading.symbolic_worker FD PARENT_PID``.

It owns nothing and trusts nobody: one comparison at a time, an address space limit, no time limit of its own. The
parent holds the clock and kills it. It dies with the parent's thread (PDEATHSIG) and when the connection closes.

Messages are JSON. First one out: ``{"ready": true}`` or ``{"fatal": reason}``. Then for each ``{"gold", "answer"}`` one
of ``{"equal": bool | null}`` and ``{"unparsable": "gold"|"answer"}``; for each ``{"number": text}``
``{"number": [numerator, denominator] | null}``. Both may also get ``{"too_large": true}`` and ``{"error": reason}``; an
error with ``"suspect": true`` is the worker's last message.
"""

import ctypes
import json
import logging
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

MEMORY_BYTES = 2 << 30
"""Address space limit; reaching it is an error of the grader, never a verdict."""
_PR_SET_PDEATHSIG = 1


def confine(parent_pid: int) -> None:
    """Ties this process to its parent's life and bounds its memory.

    Raises:
        SystemExit: The parent has already gone.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SystemExit("the parent process ended before its symbolic worker started")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(request: dict[str, str]) -> dict[str, Any]:
    """One verdict or number as a message; see the module docstring."""
    from thor_ray.grading import algebra
    from thor_ray.grading.numerals import TooLargeError

    try:
        if "number" in request:
            value = algebra.number(request["number"])
            return {"number": None if value is None else [value.numerator, value.denominator]}
        return {"equal": algebra.equal(request["gold"], request["answer"])}
    except algebra.UnreadableError as error:
        return {"unparsable": error.side}
    except TooLargeError:
        return {"too_large": True}
    except (MemoryError, RecursionError) as error:
        return {"error": f"{type(error).__name__} in the algebra", "suspect": True}
    # Whatever the algebra raises is the grader's failure, and is reported as such.
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def self_test() -> str | None:
    """What is wrong with this installation's algebra, or ``None``."""
    for gold, candidate, expected in (
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        (r"2\sqrt{3}", r"2\sqrt{5}", False),
        (r"x^2+1", r"1+x^2", True),
        (r"R^2", r"r^2", False),
        (r"2i", r"(1+i)^2", True),
        (r"\frac{\pi}{2}", r"\arcsin 1", True),
    ):
        if answer({"gold": gold, "answer": candidate}) != {"equal": expected}:
            return f"{gold} and {candidate} are not compared correctly"
    return None


def main() -> None:
    """Serves comparisons until the connection closes."""
    connection = Connection(int(sys.argv[1]))
    confine(int(sys.argv[2]))
    logging.disable(logging.CRITICAL)
    try:
        fatal = self_test()
    except ImportError as error:
        fatal = str(error)
    connection.send_bytes(json.dumps({"fatal": fatal} if fatal else {"ready": True}).encode())
    while not fatal:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        response = answer(request)
        connection.send_bytes(json.dumps(response).encode())
        if response.get("suspect"):
            return  # half-finished allocations and deep stacks leave no state to build on


if __name__ == "__main__":
    main()
