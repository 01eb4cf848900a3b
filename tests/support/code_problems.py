"""Small programming tasks in the shapes of EvalPlus's and LiveCodeBench's files."""

import base64
import json
import pickle
import zlib
from typing import Any

HALVES = {
    "task_id": "HumanEval/900",
    "prompt": 'from typing import List\n\n\ndef halves(xs: List[int]) -> List[float]:\n    """Half of each number."""\n',
    "entry_point": "halves",
    "canonical_solution": "    return [x / 2 for x in xs]\n",
    "base_input": [[[2, 4]], [[]]],
    "plus_input": [[[1, -3]], [[10**6]], [[0]]],
    "atol": 0,
}
"""Its outputs are lists of floats."""

GREETING = {
    "task_id": "Mbpp/901",
    "prompt": '"""\nWrite a function to greet somebody.\n"""\n',
    "entry_point": "greet",
    "canonical_solution": "\ndef greet(name):\n    return 'hello ' + name\n",
    "base_input": [["Ada"]],
    "plus_input": [[""], ["Kurt"]],
    "atol": 0,
}
"""Its outputs are text."""


def livecodebench_row(kind: str, **changes: Any) -> dict[str, Any]:
    """A row of LiveCodeBench's shape: sums of numbers, as a script or as a method.

    Args:
        kind: ``stdin`` or ``functional``.
        changes: Fields in the place of the row's own.
    """
    if kind == "stdin":
        public = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
        private = [
            {"input": "10 20 30\n", "output": "60", "testtype": "stdin"},
            {"input": "1.5 2\n", "output": "3.50", "testtype": "stdin"},
        ]
        metadata, starter = {}, ""
    else:
        public = [{"input": "[1, 2]\n1", "output": "4", "testtype": "functional"}]
        private = [{"input": "[]\n0", "output": "0", "testtype": "functional"}]
        metadata = {"func_name": "total"}
        starter = "class Solution:\n    def total(self, numbers: List[int], more: int) -> int:\n        "
    row = {
        "question_title": "Sums",
        "question_content": "Add the numbers.",
        "platform": "atcoder" if kind == "stdin" else "leetcode",
        "question_id": f"sums_{kind}",
        "contest_id": "c1",
        "contest_date": "2025-01-04T00:00:00",
        "starter_code": starter,
        "difficulty": "easy",
        "public_test_cases": json.dumps(public),
        "private_test_cases": packed(json.dumps(private)),
        "metadata": json.dumps(metadata),
    }
    return row | changes


def packed(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> str:
    """A value as LiveCodeBench packs its private tests."""
    return packed_bytes(pickle.dumps(value, protocol))


def packed_bytes(pickled: bytes) -> str:
    """A pickle as LiveCodeBench packs it."""
    return base64.b64encode(zlib.compress(pickled)).decode()
