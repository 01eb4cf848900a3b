"""The process that does algebra: ``python -P -m thor_ray.grading.symbolic_worker FD PARENT_PID``.

It owns nothing and trusts nobody: one comparison at a time, an address space limit, no time limit of its own. The
parent holds the clock and kills it. It dies with the parent's thread (PDEATHSIG) and when the connection closes.

Messages are JSON. First one out: ``{"ready": version}`` or ``{"fatal": reason}``. Then for each
``{"gold", "answer"}`` one of ``{"equal": bool}``, ``{"unparsable": "gold"|"answer"}``, ``{"error": reason}``;
an error with ``"suspect": true`` is the worker's last message.
"""

import ctypes
import json
import logging
import os
import re
import resource
import signal
import sys
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MEMORY_BYTES = 2 << 30
"""Address space limit; reaching it is an error of the grader, never a verdict."""
_DIGITS = 50
_RELATIVE_TOLERANCE = 1e-30
_DECIMAL = re.compile(r"(?<![\w.])(\d*)\.(\d+)(?![\d.])")
_SHORT_SCRIPT = re.compile(r"([_^])(\w)")
_INDEXED_E = re.compile(r"E(?=_)")
_COMMAND_OR_WORDS = re.compile(r"\\text\{[^{}]*\}|\\[a-zA-Z]+")
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


def exact_decimals(latex: str) -> str:
    r"""Writes decimals as fractions, so that no float and none of its tolerance enters the comparison.

    ``0.25x`` becomes ``\frac{25}{100}x``.
    """

    def fraction(match: re.Match[str]) -> str:
        whole, decimals = match.groups()
        return rf"\frac{{{int((whole + decimals) or '0')}}}{{{10 ** len(decimals)}}}"

    return _DECIMAL.sub(fraction, latex)


@lru_cache(maxsize=2048)
def parse(latex: str, is_complex: bool) -> Any:
    """A sympy object for one normalised expression, or ``None`` if math-verify's parser cannot read it.

    math-verify's own ``parse`` searches prose, strips units (the m of 6m among them) and writes all symbols in lower
    case (R for r); here the whole text is one expression, so its parser is called directly.

    Args:
        latex: The expression.
        is_complex: Whether i is the imaginary unit and variables need not be real; the same for both sides.
    """
    import sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig, latex2sympy, normalize_latex

    exact = _SHORT_SCRIPT.sub(r"\1{\2}", exact_decimals(latex))
    exact = _INDEXED_E.sub(r"\\text{E}", exact)  # which the grammar takes for the start of an expectation
    cleaned = normalize_latex(rf"\boxed{{{exact}}}", NormalizationConfig(malformed_operators=True, nits=True))
    try:
        expression = latex2sympy(
            cleaned,
            is_real=not is_complex,
            convert_degrees=False,
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - the parser raises whatever it likes on text that it cannot read
        return None
    if is_complex and isinstance(expression, sympy.Basic):
        # The parser knows \mathrm{I} as the imaginary unit, but takes i for a variable.
        expression = expression.subs({symbol: sympy.I for symbol in expression.free_symbols if symbol.name == "i"})
    return expression


def mentions_i(latex: str) -> bool:
    """Whether the letter i stands in an expression, not counting names of commands and words."""
    return "i" in _COMMAND_OR_WORDS.sub("", latex)


def compare(gold: str, answer: str) -> dict[str, Any]:
    """One verdict as a message; see the module docstring."""
    from math_verify import verify

    is_complex = mentions_i(gold) or mentions_i(answer)
    gold_expression, answer_expression = parse(gold, is_complex), parse(answer, is_complex)
    if gold_expression is None:
        return {"unparsable": "gold"}
    if answer_expression is None or is_undefined(answer_expression):
        return {"unparsable": "answer"}
    equal = verify(gold_expression, answer_expression, timeout_seconds=None, raise_on_error=True)
    return {"equal": bool(equal) and agree_numerically(gold_expression, answer_expression)}


def is_undefined(expression: Any) -> bool:
    """Whether an expression evaluates to "not a number" or complex infinity, as after a hidden division by zero."""
    import sympy

    return isinstance(expression, sympy.Expr) and expression.doit().has(sympy.nan, sympy.zoo)


def agree_numerically(gold: Any, answer: Any) -> bool:
    """Second opinion on two expressions that math-verify called equal; it rounds small differences away.

    Both are evaluated to 50 digits, variables at fixed rational points, and must agree relatively. What cannot be
    evaluated (sets, relations, undefined functions) is left to math-verify's verdict.
    """
    import sympy

    if not (isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr)):
        return True
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    for shift in (0, 1):
        point = {symbol: sympy.Rational(7 + 4 * index + shift, 5 + 2 * index) for index, symbol in enumerate(symbols)}
        left, right = (expression.subs(point).doit().evalf(_DIGITS) for expression in (gold, answer))
        if not (left.is_number and right.is_number and left.is_finite and right.is_finite):
            return True
        scale = max(abs(left), abs(right))
        if scale == 0:
            continue
        if abs(left - right) > _RELATIVE_TOLERANCE * scale:
            # An exact zero may come out as 1e-60, which no relative test accepts.
            return bool(sympy.simplify(gold - answer).is_zero)
    return True


def self_test() -> str | None:
    """What is wrong with the installed parser, or ``None``. Under another antlr runtime it fails silently."""
    for gold, answer, expected in (
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        (r"2\sqrt{3}", r"2\sqrt{5}", False),
        (r"x^2+1", r"1+x^2", True),
        (r"R^2", r"r^2", False),
        (r"2i", r"(1+i)^2", True),
        (r"\frac{\pi}{2}", "0.5\\pi", True),
    ):
        if compare(gold, answer) != {"equal": expected}:
            return f"math-verify does not compare {gold} with {answer} correctly"
    return None


def _memory_is_exhausted() -> bool:
    """Whether this process once came near its limit; libraries swallow ``MemoryError`` and say "different"."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kib = int(status.partition("VmPeak:")[2].split()[0])
    return peak_kib * 1024 > 0.9 * MEMORY_BYTES


def _answer(request: dict[str, str]) -> dict[str, Any]:
    try:
        response = compare(request["gold"], request["answer"])
    except (MemoryError, RecursionError) as error:
        return {"error": f"{type(error).__name__} in the algebra", "suspect": True}
    # Whatever a parser or simplifier raises is the grader's failure, and is reported as such.
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    if not response.get("equal") and _memory_is_exhausted():
        return {"error": f"memory limit of {MEMORY_BYTES >> 20} MiB reached", "suspect": True}
    return response


def main() -> None:
    """Serves comparisons until the connection closes."""
    connection = Connection(int(sys.argv[1]))
    confine(int(sys.argv[2]))
    logging.disable(logging.CRITICAL)
    try:
        import math_verify  # noqa: F401

        fatal = self_test()
    except ImportError as error:
        fatal = str(error)
    connection.send_bytes(json.dumps({"fatal": fatal} if fatal else {"ready": True}).encode())
    while not fatal:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        response = _answer(request)
        connection.send_bytes(json.dumps(response).encode())
        if response.get("suspect"):
            return  # half-finished allocations and deep stacks leave no state to build on


if __name__ == "__main__":
    main()
