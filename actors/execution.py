"""What the sandbox says, as a trajectory records it and as the policy reads it (spec section A.7).

``ok`` needs a clean end *and* visible output. Programs that print nothing, time out, or hit another limit each get an
honest text of their own; our own failures are ``infra_error`` and never blamed on the code (invariant 12).
"""

import sandbox
from thor_ray.config import SandboxConfig
from thor_ray.dialogue import escape_fences, hide_addresses, shorten_observation
from thor_ray.trajectory import ExecutionResult, ExecutionStatus

MEBIBYTE = 2**20

NO_OUTPUT_TEXT = "The program printed nothing."
CPU_TEXT = "TimeoutError: the program needed more computing time than it may use"
MEMORY_TEXT = "MemoryError: the program needed more memory than it may use"
OUTPUT_TEXT = "OutputLimit: the program printed more than it may"
INFRA_TEXT = "The program could not be run."


def make_sandbox(config: SandboxConfig) -> sandbox.Sandbox:
    """The sandbox that a recipe asks for, not open yet."""
    return sandbox.Sandbox(
        workers=config.workers,
        preload=config.preload,
        limits=sandbox.Limits(
            wall_seconds=config.timeout_seconds,
            cpu_seconds=config.cpu_seconds,
            memory_bytes=config.memory_mib * MEBIBYTE,
        ),
        min_level=config.min_level,
    )


def to_execution_result(result: sandbox.Result, timeout_seconds: float) -> ExecutionResult:
    """Maps one sandbox result.

    Args:
        result: What the sandbox returned.
        timeout_seconds: The wall-clock limit that it ran under, for the observation's text.
    """
    status = _status(result)
    text = hide_addresses(_text(result, status, timeout_seconds).strip())
    return ExecutionResult(
        status=status,
        text=escape_fences(shorten_observation(text)),
        exception_type=result.exc_type,
        wall_seconds=result.wall_ms / 1000,
        queue_seconds=result.queue_ms / 1000,
    )


def _status(result: sandbox.Result) -> ExecutionStatus:
    match result.status:
        case sandbox.Status.OK:
            return ExecutionStatus.OK if result.stdout.strip() else ExecutionStatus.NO_OUTPUT
        case sandbox.Status.TIMEOUT:
            return ExecutionStatus.TIMEOUT
        case sandbox.Status.SANDBOX_ERROR | sandbox.Status.CANCELLED:
            return ExecutionStatus.INFRA_ERROR
        case _:
            return ExecutionStatus.EXCEPTION


def _text(result: sandbox.Result, status: ExecutionStatus, timeout_seconds: float) -> str:
    match status:
        case ExecutionStatus.OK:
            return result.stdout
        case ExecutionStatus.NO_OUTPUT:
            return NO_OUTPUT_TEXT
        case ExecutionStatus.TIMEOUT:
            if result.wall_ms < 1000 * timeout_seconds:
                return CPU_TEXT
            return f"TimeoutError: the program ran longer than {timeout_seconds:g} seconds"
        case ExecutionStatus.INFRA_ERROR:
            return INFRA_TEXT
        case ExecutionStatus.EXCEPTION:
            return _error_text(result)


def _error_text(result: sandbox.Result) -> str:
    if result.status is sandbox.Status.MEMORY_LIMIT:
        return MEMORY_TEXT
    if result.status is sandbox.Status.OUTPUT_LIMIT:
        return OUTPUT_TEXT
    lines = result.stderr.strip().splitlines()
    if lines:
        return lines[-1]
    if result.signal is not None:
        return f"The program was ended by signal {result.signal}."
    return f"The program ended with code {result.exit_code}."
