"""Calls a candidate's function on inputs and writes down what it returns, one JSON line a call.

A line is ``{"value": tree, "seconds": s}``, ``{"digest": text, "seconds": s}`` for a large output, or, as the last one,
``{"failure": "timeout" | "memory" | "error", "reason": text}``. Lines are written as they come, so that those before a
crash remain.

Time is the processor's, so that a busy machine fails nobody; a call that sleeps is given ``PATIENCE`` times as much of
the clock's. Both limits are a courtesy that a program can switch off: what bounds it then is the sandbox's deadline.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .digest import digest, is_large
from .equality import is_floats
from .notation import decode, encode

ORDER, ARGUMENTS, SOLUTION, OUTPUTS = "order.json", "arguments.jsonl", "solution.py", "outputs.jsonl"

PATIENCE = 10.0
LOAD_SECONDS = 10.0
"""For the candidate's own top level, imports included."""
_AGAIN_SECONDS = 0.1
"""A program that swallows the alarm hears it again."""
_REASON_CHARACTERS = 300
_MODULE = "solution"


_rung: list[int] = []
"""Alarms that went off during the present attempt."""


class OutOfTime(BaseException):
    """A call took too long; no ``Exception``, so that few programs catch it."""


class Nowhere:
    """Where those print who were asked to return something."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """There is nothing to send."""

    def isatty(self) -> bool:
        return False


def main() -> None:
    """Reads the order from this directory and follows it."""
    order = json.loads(Path(ORDER).read_text())
    arguments = Path(ARGUMENTS).read_text().split("\n")
    source = Path(SOLUTION).read_bytes().decode("utf-8", "surrogatepass")
    descriptor = os.open(OUTPUTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(record: dict[str, Any]) -> None:
        os.write(descriptor, json.dumps(record).encode() + b"\n")

    sys.stdout = sys.stderr = Nowhere()
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, _raise_out_of_time)
    function = _attempt(lambda: _load(source, order), LOAD_SECONDS, write, "before its first call: ")
    if function is None:
        return
    for line, seconds in zip(arguments, order["seconds"], strict=True):
        call = _call(function[0], line, order["digests"])
        outcome = _attempt(call, seconds, write)
        if outcome is None:
            return
        record, spent = outcome
        write(record | {"seconds": round(spent, 6)})


def _load(source: str, order: dict[str, Any]) -> Callable[..., Any]:
    """Runs the candidate's top level as an imported module's, and returns the function that is asked for."""
    module = types.ModuleType(_MODULE)
    sys.modules[_MODULE] = module
    exec(compile(order["prelude"], "<prelude>", "exec"), module.__dict__)
    exec(compile(source, SOLUTION, "exec", dont_inherit=True), module.__dict__)
    owner: Any = module
    if order["owner"] is not None and hasattr(module, order["owner"]):
        owner = getattr(module, order["owner"])()
    function: Callable[..., Any] = getattr(owner, order["function"])
    return function


def _call(function: Callable[..., Any], line: str, digests: bool) -> Callable[[], dict[str, Any]]:
    arguments = decode(json.loads(line))

    def call() -> dict[str, Any]:
        output = function(*arguments)
        if digests and not is_floats(output) and is_large(output):
            return {"digest": digest(output)}
        return {"value": encode(output)}

    return call


def _attempt(
    work: Callable[[], Any], seconds: float, write: Callable[[dict[str, Any]], None], prefix: str = ""
) -> tuple[Any, float] | None:
    """What the work returns and the processor's seconds that it took; ``None`` once a failure is written down."""
    _rung.clear()
    began = time.process_time()
    try:
        _set_alarms(seconds)
        try:
            result = work()
        finally:
            _set_alarms(0)
        spent = time.process_time() - began
        if _rung:  # and the program swallowed it
            raise OutOfTime
    except OutOfTime:
        write({"failure": "timeout", "reason": f"{prefix}took more than {seconds:.3g} s"})
    except MemoryError:
        write({"failure": "memory", "reason": f"{prefix}MemoryError"})
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the candidate's failure
        write({"failure": "error", "reason": prefix + _described(error)})
    else:
        return result, spent
    return None


def _set_alarms(seconds: float) -> None:
    """Sets the alarms, or with 0 takes them back."""
    again = _AGAIN_SECONDS if seconds else 0
    signal.setitimer(signal.ITIMER_PROF, seconds, again)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds, again)


def _raise_out_of_time(number: int, frame: types.FrameType | None) -> None:
    _rung.append(number)
    raise OutOfTime


def _described(error: BaseException) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}"[:_REASON_CHARACTERS]
    except BaseException:  # noqa: BLE001 - its `__str__` is the candidate's as well
        return name
