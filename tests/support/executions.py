"""Results of the sandbox for tests that need no sandbox."""

from typing import Any

from sandbox.result import Result, Status

RESULT: dict[str, Any] = {
    "status": Status.OK,
    "stdout": "42\n",
    "stderr": "",
    "truncated": False,
    "exc_type": None,
    "exc_message": None,
    "traceback": "",
    "exit_code": 0,
    "signal": None,
    "wall_ms": 12.5,
    "cpu_user_ms": 1.0,
    "cpu_sys_ms": 1.0,
    "max_rss_kb": 1,
    "queue_ms": 3.0,
    "files": {},
    "files_refused": {},
    "isolation": None,
    "seed": 0,
    "attempt": 1,
}


def result(**changes: Any) -> Result:
    """An execution that went well, but for the changes."""
    return Result(**{**RESULT, **changes})
