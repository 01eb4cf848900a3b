"""What the sandbox is asked to run: the modules of ``inside`` as files, and a few lines that call one of them."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from sandbox import Request
from thor_ray.code_benchmarks.inside import calls, judge, script
from thor_ray.code_benchmarks.problem import CodeProblem, FunctionCall, Rule

LONGEST_RUN: Final = 60.0
"""Seconds; the sandbox grants no more."""
OUTPUTS: Final = calls.OUTPUTS
"""File with a function's outputs."""
PRINTED: Final = script.PRINTED
"""File with what a script printed."""

_SCRIPT_PATIENCE: Final = 4.0
"""Seconds of the clock for each of the processor's that a script may use."""
_PACKAGE: Final = "thor_ray.code_benchmarks.inside"
_START: Final = """\
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, ".")
from inside.{module} import main
del sys.path[0], sys
main({arguments})
"""


def call_request(
    problem: CodeProblem, program: str, inputs: Sequence[str], seconds: Sequence[float], timeout: float
) -> Request:
    """A run that calls a program's function on inputs; ``OUTPUTS`` has what it returned.

    Args:
        problem: Its tests call a function.
        program: The candidate's, or the reference solution.
        inputs: Arguments of each call.
        seconds: Of the processor's time for each call.
        timeout: For all of it, by the clock.
    """
    interface = problem.interface
    assert isinstance(interface, FunctionCall)
    order = {
        "function": interface.name,
        "owner": interface.owner,
        "prelude": problem.prelude,
        "seconds": list(seconds),
        "digests": _may_be_digested(problem),
    }
    contents = {
        calls.ORDER: json.dumps(order).encode(),
        calls.ARGUMENTS: "\n".join(inputs).encode(),
        calls.SOLUTION: program.encode("utf-8", "surrogatepass"),
    }
    return Request(_start("calls"), timeout, 0, modules() | contents, (OUTPUTS,))


def script_request(problem: CodeProblem, program: str, text: str, seconds: float) -> Request:
    """A run of a program as a script; ``PRINTED`` has what it printed.

    Args:
        problem: Its tests are scripts.
        program: The candidate's.
        text: Its standard input.
        seconds: Of the processor's time.
    """
    contents = {
        script.ORDER: json.dumps({"prelude": problem.prelude, "seconds": seconds}).encode(),
        script.SOLUTION: program.encode("utf-8", "surrogatepass"),
    }
    timeout = min(LONGEST_RUN, _SCRIPT_PATIENCE * seconds)
    stdin = text.encode("utf-8", "surrogatepass")
    return Request(_start("script", "globals()"), timeout, 0, modules() | contents, (PRINTED,), stdin)


def judge_request(problem: CodeProblem, expected: Sequence[str], outputs: bytes, inputs: Sequence[str]) -> Request:
    """A run that compares outputs with the expected ones, with no code of the candidate's; it prints what it found.

    Args:
        problem: Its rule decides.
        expected: The right outputs.
        outputs: The candidate's, as its process has left them.
        inputs: Of the tests; only some rules look at them.
    """
    order: dict[str, Any] = {"rule": problem.rule.value, "tolerance": problem.tolerance}
    contents = {
        judge.ORDER: json.dumps(order).encode(),
        judge.EXPECTED: "\n".join(expected).encode(),
        judge.OUTPUTS: outputs,
    }
    if problem.rule.needs_arguments:
        contents[judge.ARGUMENTS] = "\n".join(inputs).encode()
    return Request(_start("judge"), LONGEST_RUN, 0, modules() | contents)


@cache
def modules() -> dict[str, bytes]:
    """The package ``inside`` as files of a program's directory."""
    return {f"inside/{path.name}": path.read_bytes() for path in files(_PACKAGE).iterdir() if path.name.endswith(".py")}


def _start(module: str, arguments: str = "") -> str:
    return _START.format(module=module, arguments=arguments)


def _may_be_digested(problem: CodeProblem) -> bool:
    """Large outputs may travel as digests where nothing but equality is asked of them."""
    return problem.rule is Rule.EQUAL_OR_CLOSE and problem.tolerance == 0
