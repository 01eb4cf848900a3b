"""Compares outputs with what was expected, and prints one JSON object that says where they first differ.

The object is ``{"count": n, "failure": null}``, n being the number of right outputs, or with ``"failure": {"status":
..., "reason": ...}`` for the output after these. Outputs are a candidate's word: anything may stand there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .equality import matches
from .notation import decode

ORDER, EXPECTED, OUTPUTS, ARGUMENTS = "order.json", "expected.jsonl", "outputs.jsonl", "arguments.jsonl"
FAILURES = ("timeout", "memory", "error")
_SHOWN_CHARACTERS = 80
_REASON_CHARACTERS = 300


def main() -> None:
    """Judges the outputs in this directory."""
    order = json.loads(Path(ORDER).read_text())
    expected = Path(EXPECTED).read_text().split("\n")
    outputs = Path(OUTPUTS).read_bytes().decode("utf-8", "replace").split("\n")
    arguments = Path(ARGUMENTS).read_text().split("\n") if Path(ARGUMENTS).exists() else []
    complete = outputs[:-1]  # what follows the last line's end was cut off
    count = 0
    failure = None
    for index, (line, wanted) in enumerate(zip(complete, expected, strict=False)):
        given = decode(json.loads(arguments[index])) if arguments else []
        failure = _failure(line, json.loads(wanted), given, order)
        if failure is not None:
            break
        count += 1
    sys.stdout.write(json.dumps({"count": count, "failure": failure}))


def _failure(line: str, wanted: dict[str, Any], arguments: list[Any], order: dict[str, Any]) -> dict[str, str] | None:
    """What is wrong with one output; ``None`` if nothing is."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            raise TypeError
        if record.get("failure") in FAILURES:
            return {"status": record["failure"], "reason": _printable(str(record.get("reason")))}
        output = None if "digest" in record else decode(record["value"])
    except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError):
        return _wrong("its output cannot be read")
    if "digest" in wanted and record.get("digest") == wanted["digest"]:
        return None
    if "digest" in wanted or "digest" in record:
        return _wrong("a large output is expected or given, and they differ")
    expected = decode(wanted["value"])
    if matches(order["rule"], output, expected, arguments, order["tolerance"]):
        return None
    return _wrong(f"expected {_shown(expected)}, got {_shown(output)}")


def _wrong(reason: str) -> dict[str, str]:
    return {"status": "wrong_output", "reason": _printable(reason)}


def _printable(text: str) -> str:
    """A text that is short, and that every file and terminal takes."""
    return text[:_REASON_CHARACTERS].encode("utf-8", "replace").decode()


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # integers of more than 4300 digits
        return f"something of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
