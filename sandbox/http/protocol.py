"""SandboxFusion's words for a program and its end, translated from and into ours.

Source: bytedance/SandboxFusion, `sandbox/server/sandbox_api.py` and `sandbox/runners/types.py`. Field names and values are
theirs to the letter. What its clients rely on beyond the schema, and what therefore holds here: a reply with `run_result`
has `stdout` and `stderr` as strings, never null; `return_code` is 0 exactly when the status is `Success`; a program that the
clock ended has no `return_code`.
"""

from __future__ import annotations

import os
from base64 import b64encode
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Base64Bytes, BaseModel, Field

from sandbox.limits import MAX_WALL_SECONDS
from sandbox.result import Result, Status

SPELT_OUT: Final = frozenset({Status.MEMORY_LIMIT, Status.OUTPUT_LIMIT, Status.CRASH})
"""Ends for which SandboxFusion has no word of its own; the reply's `message` names them."""


def _check_unicode(name: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"{name!r} cannot be a file's name: it is not Unicode, so no reply could name it")
    return name


FileName = Annotated[str, AfterValidator(_check_unicode)]


class RunCodeRequest(BaseModel):
    """The body of `POST /run_code`. Fields that are not listed are ignored, as SandboxFusion ignores them."""

    code: str = Field(description="The program, Python source.", examples=['print("hello")'])
    stdin: str | None = Field(None, description="Its standard input; empty by default.")
    language: Literal["python"] = Field("python", description="Nothing but Python runs here.")
    run_timeout: float = Field(10, gt=0, le=MAX_WALL_SECONDS, description="Wall-clock seconds for the program.")
    compile_timeout: float = Field(10, description="Accepted and not used: nothing is compiled apart.")
    memory_limit_MB: int = Field(  # noqa: N815 - their name
        -1, description="Accepted and not used: every program runs under the memory limit of the server."
    )
    files: dict[FileName, Base64Bytes | None] = Field(
        default_factory=dict, description="What lies in the program's directory, by relative path; base64."
    )
    fetch_files: list[FileName] = Field(
        default_factory=list, description="Files to bring back from the program's directory, by relative path."
    )

    @property
    def input_bytes(self) -> bytes:
        """The standard input as the program reads it."""
        return (self.stdin or "").encode("utf-8", "surrogatepass")

    @property
    def contents(self) -> dict[str, bytes]:
        """The files; SandboxFusion takes null for "no such file"."""
        return {name: content for name, content in self.files.items() if content is not None}


class RunStatus(StrEnum):
    """How a request ended."""

    SUCCESS = "Success"
    """The program ended with code 0."""
    FAILED = "Failed"
    """The program ended otherwise."""
    SANDBOX_ERROR = "SandboxError"
    """Says nothing about the program: the request was refused, or the sandbox is at fault."""


class CommandRunStatus(StrEnum):
    """How a process ended."""

    FINISHED = "Finished"
    ERROR = "Error"
    TIME_LIMIT_EXCEEDED = "TimeLimitExceeded"


class CommandRunResult(BaseModel):
    """A process's end."""

    status: CommandRunStatus
    execution_time: float | None = Field(
        None, description="Seconds from dispatch to the end; without time in the queue."
    )
    return_code: int | None = Field(
        None, description="As in Python's subprocess: minus the signal's number after a signal."
    )
    stdout: str | None = None
    stderr: str | None = None


class RunCodeResponse(BaseModel):
    """The reply to `POST /run_code`, and the body of every refusal."""

    status: RunStatus
    message: str = Field(description="What else there is to say; empty mostly.")
    compile_result: CommandRunResult | None = None
    run_result: CommandRunResult | None = None
    executor_pod_name: str | None = Field(None, description="MY_POD_NAME in the server's environment.")
    files: dict[str, str] = Field(default_factory=dict, description="What was fetched, by name; base64.")


def refusal(message: str) -> RunCodeResponse:
    """A reply that says nothing about the program."""
    return RunCodeResponse(status=RunStatus.SANDBOX_ERROR, message=message)


def reply(result: Result) -> RunCodeResponse:
    """One execution as SandboxFusion would tell it."""
    run = _run_result(result)
    if run.status is CommandRunStatus.ERROR:
        status, notes = RunStatus.SANDBOX_ERROR, [run.stderr or result.status]
    else:
        status = RunStatus.SUCCESS if run.return_code == 0 else RunStatus.FAILED
        notes = [result.status] if result.status in SPELT_OUT else []
    notes += [f"not fetched: {name} ({reason})" for name, reason in result.files_refused.items()]
    return RunCodeResponse(
        status=status,
        message="; ".join(notes),
        run_result=run,
        executor_pod_name=os.environ.get("MY_POD_NAME"),
        files={name: b64encode(content).decode("ascii") for name, content in result.files.items()},
    )


def _run_result(result: Result) -> CommandRunResult:
    seconds = result.wall_ms / 1000
    match result.status:
        case Status.SANDBOX_ERROR | Status.CANCELLED:
            # There is no output that anybody should take for the program's: the words are the sandbox's.
            return CommandRunResult(
                status=CommandRunStatus.ERROR, stdout="", stderr=result.exc_message or result.status
            )
        case Status.TIMEOUT:
            status, code = CommandRunStatus.TIME_LIMIT_EXCEEDED, None
        case _:
            status, code = CommandRunStatus.FINISHED, _return_code(result)
    return CommandRunResult(
        status=status, execution_time=seconds, return_code=code, stdout=result.stdout, stderr=result.stderr
    )


def _return_code(result: Result) -> int:
    """As `subprocess` counts; a program that was refused unread has no process, so it gets the interpreter's 1."""
    if result.signal is not None:
        return -result.signal
    return 1 if result.exit_code is None else result.exit_code
