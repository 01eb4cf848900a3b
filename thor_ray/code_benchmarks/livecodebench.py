"""LiveCodeBench from a copy of its files (``code_generation_lite``: test.jsonl to test6.jsonl).

Private tests come packed: JSON text, pickled, compressed, in base64. Unpickling runs whatever a pickle says, so it is not
unpickled: its instructions are read, and refused unless they are those of one text.
"""

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from thor_ray.code_benchmarks.inside.notation import encode
from thor_ray.code_benchmarks.problem import CodeProblem, FunctionCall, Rule, Script, Suite
from thor_ray.problems.errors import ProblemFileError

PUBLIC, PRIVATE = "public", "private"
"""Tests that the question shows as examples, and all others."""

SECONDS: Final = 6.0
"""For each test, LiveCodeBench's own default."""

FIELDS: Final = ("question_id", "question_content", "starter_code", "public_test_cases", "private_test_cases")
_FUNCTIONAL, _STANDARD_INPUT = "functional", "stdin"
_LARGEST_TESTS: Final = 1 << 30
"""Bytes that packed tests may unfold to."""

_TEXT_INSTRUCTIONS: Final = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
_IDLE_INSTRUCTIONS: Final = ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP")

_STAR_IMPORTS: Final = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json "
    "builtins typing"
).split()
PRELUDE: Final = "\n".join(
    (
        *(f"from {name} import *" for name in _STAR_IMPORTS),
        "import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools",
        "import functools, operator, io, sys, json",
        "sys.setrecursionlimit(50000)",
        "sys.set_int_max_str_digits(50000)",
    )
)
"""What LiveCodeBench imports ahead of every program, in its order."""

_WITH_STARTER: Final = (
    "{content}\n\nWrite a Python program that solves this problem. Complete the code below, and put the whole of it in "
    "one ```python block.\n\n```python\n{starter}\n```"
)
_AS_SCRIPT: Final = (
    "{content}\n\nWrite a Python program that solves this problem: it reads standard input and prints the answer. Put "
    "it in one ```python block, and do not run the examples in it."
)


def is_livecodebench(record: Mapping[str, Any]) -> bool:
    """Whether a row looks like one of LiveCodeBench's."""
    return "question_content" in record and "public_test_cases" in record


def parse_problem(record: Mapping[str, Any], source: str) -> CodeProblem:
    """The problem of one row.

    Args:
        record: The row.
        source: ``CodeProblem.source``.

    Raises:
        ProblemFileError: the row is none; the message says what is wrong, without file and row.
    """
    for name in FIELDS:
        if not isinstance(record.get(name), str):
            raise ProblemFileError(f"no row of LiveCodeBench: field {name!r} must be text")
    identity = record["question_id"]
    public = _tests(record["public_test_cases"], f"{identity}: public_test_cases")
    packed = record["private_test_cases"]
    private = _tests(packed if packed.lstrip()[:1] == "[" else unpack(packed), f"{identity}: private_test_cases")
    function = _function_name(record.get("metadata"))
    kinds = {test["testtype"] for test in (*public, *private)}
    expected_kind = _STANDARD_INPUT if function is None else _FUNCTIONAL
    if kinds != {expected_kind}:
        raise ProblemFileError(
            f"{identity}: tests are {', '.join(sorted(kinds)) or 'none'}, but its metadata asks for {expected_kind} ones"
        )
    convert = _script_suite if function is None else _call_suite
    suites = (convert(name, tests, identity) for name, tests in ((PUBLIC, public), (PRIVATE, private)) if tests)
    starter, content = record["starter_code"], record["question_content"]
    question = (_WITH_STARTER if starter.strip() else _AS_SCRIPT).format(content=content.strip(), starter=starter)
    return CodeProblem(
        id=identity,
        question=question,
        source=source,
        interface=Script() if function is None else FunctionCall(function, "Solution"),
        suites=tuple(suites),
        rule=Rule.PRINTED_ALIKE if function is None else Rule.EQUAL_LISTS,
        prelude=PRELUDE,
        seconds=SECONDS,
        level=record.get("difficulty"),
    )


def unpack(packed: str) -> str:
    """The text in packed tests.

    Raises:
        ProblemFileError: it is not packed text, or its pickle holds anything but text.
    """
    stream = zlib.decompressobj()
    try:
        pickled = stream.decompress(base64.b64decode(packed, validate=True), _LARGEST_TESTS)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ProblemFileError(f"packed tests cannot be read: {error}") from error
    if not stream.eof:
        raise ProblemFileError(f"packed tests are cut off, or unfold to more than {_LARGEST_TESTS} bytes")
    return pickled_text(pickled)


def pickled_text(pickled: bytes) -> str:
    """The text that a pickle holds, read from its instructions: none of them is carried out.

    Raises:
        ProblemFileError: it is no pickle, or has other instructions than a pickle of one text.
    """
    texts = []
    try:
        for instruction, argument, _ in pickletools.genops(pickled):
            if instruction.name in _TEXT_INSTRUCTIONS:
                texts.append(argument)
            elif instruction.name not in _IDLE_INSTRUCTIONS:
                raise ProblemFileError(
                    f"the pickle holds more than text: its instruction {instruction.name} is refused"
                )
    except ValueError as error:
        raise ProblemFileError(f"not a pickle: {error}") from error
    if len(texts) != 1:
        raise ProblemFileError(f"the pickle holds {len(texts)} texts instead of one")
    return str(texts[0])


def _tests(text: str, label: str) -> list[dict[str, str]]:
    try:
        tests = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemFileError(f"{label}: not JSON ({error})") from error
    if not isinstance(tests, list):
        raise ProblemFileError(f"{label}: not a list of tests")
    for test in tests:
        if not isinstance(test, dict) or any(
            not isinstance(test.get(name), str) for name in ("input", "output", "testtype")
        ):
            raise ProblemFileError(f"{label}: a test must have the texts 'input', 'output' and 'testtype'")
    return tests


def _function_name(metadata: object) -> str | None:
    try:
        fields = json.loads(metadata) if isinstance(metadata, str) and metadata else metadata or {}
    except ValueError as error:
        raise ProblemFileError(f"field 'metadata' is not JSON: {error}") from error
    name = fields.get("func_name") if isinstance(fields, dict) else None
    return name if isinstance(name, str) and name else None


def _script_suite(name: str, tests: Sequence[Mapping[str, str]], identity: str) -> Suite:
    return Suite(
        name,
        tuple(test["input"] for test in tests),
        tuple(json.dumps({"value": test["output"]}) for test in tests),
    )


def _call_suite(name: str, tests: Sequence[Mapping[str, str]], identity: str) -> Suite:
    """Arguments stand one a line, as JSON each."""
    try:
        inputs = [[json.loads(line) for line in test["input"].split("\n")] for test in tests]
        outputs = [json.loads(test["output"]) for test in tests]
    except (ValueError, RecursionError) as error:
        raise ProblemFileError(f"{identity}: a functional test is not JSON ({error})") from error
    return Suite(
        name,
        tuple(json.dumps(encode(arguments)) for arguments in inputs),
        tuple(json.dumps({"value": encode(output)}) for output in outputs),
    )
